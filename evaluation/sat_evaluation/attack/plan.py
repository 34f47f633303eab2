"""Which attacks run, in which order, with which settings, and what each costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sat_core.autoattack import ATTACK_SETS, AUTOATTACK
from sat_core.errors import SpecError, quoted
from sat_core.registry import nearest

if TYPE_CHECKING:
    import torch

    Perturb = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


NORMS = ("L2", "Linf")
CLASSES_NEEDED = {"apgd-dlr": 3, "apgd-t": 4}
"""The DLR loss divides by a difference to the third logit, the targeted one by a difference to the fourth."""


def plan(
    attacks: str | tuple[str, ...], *, norm: str, classes: int, image_shape: tuple[int, ...]
) -> tuple[tuple[dict[str, Any], ...], list[str]]:
    """Name and settings of each attack, in the order they run, and a line about each that has to be left out.

    attacks: "standard", "plus", or names, which run with the settings of the package's version "custom". There, as in
    the package, a FAB that follows FAB-T keeps FAB-T's single restart. image_shape: `(h, w, c)`.
    Raises SpecError for unknown or repeated names, or if no attack is left.
    """
    if isinstance(attacks, str) and attacks not in ATTACK_SETS:
        sets = " or ".join(map(repr, ATTACK_SETS))
        raise SpecError(
            f"attacks: expected {sets} or several names, got {quoted(attacks)}{nearest(attacks, ATTACK_SETS)}"
        )
    names = ATTACK_SETS[attacks] if isinstance(attacks, str) else tuple(attacks)
    if not names or len(set(names)) < len(names) or not set(names) <= set(AUTOATTACK):
        raise SpecError(f"attacks: expected different ones of {', '.join(AUTOATTACK)}, got {quoted(names)}")
    tables, notes = [], []
    for place, name in enumerate(names):
        height, width = image_shape[:2]
        if classes < CLASSES_NEEDED.get(name, 0):
            notes.append(f"{name} was left out: it needs {CLASSES_NEEDED[name]} classes and there are {classes}")
        elif name == "square" and norm == "L2" and not _square_fits(height, width):
            notes.append(f"square was left out: with L2 it cannot tile images of {height}x{width} pixels")
        else:
            once = attacks == "standard" or (name == "fab" and "fab-t" in names[:place])
            tables.append(_table(name, 1 if once else 5, min(9, classes - 1)))
    if not tables:
        raise SpecError(f"attacks: none is left of {', '.join(names)}\n{notes[0]}; add 'apgd-ce' or 'fab-t'")
    return tuple(tables), notes


def work(table: dict[str, Any], classes: int, engine: str) -> tuple[int, int]:
    """Queries for an example that no attack breaks, and the mean price of one: forward 1, backward 2."""
    if table["name"] == "square":
        return table["queries"], 1
    runs = table["restarts"] * table.get("target_classes", 1)
    if engine != "fast" and table["name"].startswith("fab"):
        # two queries per iteration; FAB wants the gradient of every logit, FAB-T of one
        return runs * 2 * table["iterations"], 1 + (classes if table["name"] == "fab" else 1)
    return runs * (table["iterations"] + 1), 3


def _table(name: str, restarts: int, targets: int) -> dict[str, Any]:
    if name == "square":
        return {"name": name, "queries": 5000, "restarts": 1}
    if name in ("apgd-t", "fab-t"):
        return {"name": name, "iterations": 100, "restarts": 1, "target_classes": targets}
    return {"name": name, "iterations": 100, "restarts": restarts}


def _square_fits(height: int, width: int) -> bool:
    """The package starts from tiles of a fifth of the height and fails where they end outside the image."""
    tile = height // 5
    start = (height - 5 * tile) // 2
    return tile == 1 or (tile > 1 and all(start + side // tile * tile <= side for side in (height, width)))
