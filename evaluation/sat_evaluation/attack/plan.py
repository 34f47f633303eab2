"""Which attacks run, in which order, with which settings, and what each costs."""

from __future__ import annotations

import attrs

from sat_core.autoattack import AUTOATTACK, CUSTOM, LEVELS, AttackSettings, attacks_of
from sat_core.errors import SpecError, quoted
from sat_core.registry import nearest

Attacks = str | tuple[str | AttackSettings, ...]
"""A level of evaluation by its name, or several attacks."""
CLASSES_NEEDED = {"apgd-dlr": 3, "apgd-t": 4}
"""The DLR loss divides by the difference to the third logit, the targeted DLR loss by that to the fourth."""


def plan(
    attacks: Attacks, *, norm: str, classes: int, image_shape: tuple[int, ...]
) -> tuple[tuple[AttackSettings, ...], list[str]]:
    """Return the settings of each attack in the order in which they run, and a line about each that is left out.

    Args:
        attacks: One of `sat_core.autoattack.LEVELS`, or several names or `AttackSettings`. Names run with the
            settings of the package's version ``custom``, in which a FAB that follows FAB-T keeps FAB-T's single
            restart.
        norm: ``L2``, ``Linf`` or ``L1``.
        classes: How many the data has.
        image_shape: `(h, w, c)`.

    Raises:
        SpecError: An attack is unknown or named twice, lacks a part of its budget, or none is left.
    """
    if isinstance(attacks, str) and attacks not in LEVELS:
        levels = " or ".join(map(repr, LEVELS))
        raise SpecError(f"attacks: expected {levels} or several names, got {quoted(attacks)}{nearest(attacks, LEVELS)}")
    chosen = attacks_of(attacks, norm) if isinstance(attacks, str) else tuple(attacks)
    names = tuple(attack.name if isinstance(attack, AttackSettings) else attack for attack in chosen)
    if not names or len(set(names)) < len(names) or not set(names) <= set(AUTOATTACK):
        raise SpecError(f"attacks: expected different ones of {', '.join(AUTOATTACK)}, got {quoted(names)}")
    planned, notes = [], []
    for place, (name, attack) in enumerate(zip(names, chosen, strict=True)):
        height, width = image_shape[:2]
        if classes < CLASSES_NEEDED.get(name, 0):
            notes.append(f"{name} was left out: it needs {CLASSES_NEEDED[name]} classes and there are {classes}")
        elif name == "square" and norm != "Linf" and not _square_fits(height, width):
            notes.append(f"square was left out: with {norm} it cannot tile images of {height}x{width} pixels")
        elif isinstance(attacks, str) and isinstance(attack, AttackSettings):
            planned.append(_for(classes, attack))
        elif isinstance(attack, AttackSettings):
            _check_budget(attack, classes)
            planned.append(attack)
        else:
            once = name == "fab" and "fab-t" in names[:place]
            planned.append(_for(classes, attrs.evolve(CUSTOM[name], restarts=1) if once else CUSTOM[name]))
    if not planned:
        raise SpecError(f"attacks: none is left of {', '.join(names)}\n{notes[0]}; add 'apgd-ce' or 'fab-t'")
    return tuple(planned), notes


def queries_and_price(settings: AttackSettings, classes: int, engine: str) -> tuple[int, float]:
    """Return the queries for an example that no attack breaks, and the mean price of one in forward passes.

    A backward pass to the images costs as much as a forward pass, so that a query with a gradient costs 2.
    """
    if settings.name == "square":
        return settings.queries or 0, 1.0
    runs, iterations = settings.restarts * (settings.target_classes or 1), settings.iterations or 0
    if engine != "fast" and settings.name.startswith("fab"):
        # two queries per iteration, one with a gradient: FAB wants that of every logit, FAB-T of one
        return runs * 2 * iterations, 1 + (classes if settings.name == "fab" else 1) / 2
    return runs * (iterations + 1), 2.0


def _for(classes: int, settings: AttackSettings) -> AttackSettings:
    """The settings with as many target classes as there are: the package raises an IndexError for more."""
    targets = settings.target_classes
    return settings if targets is None else attrs.evolve(settings, target_classes=min(targets, classes - 1))


def _check_budget(settings: AttackSettings, classes: int) -> None:
    targeted = settings.name.endswith("-t")
    needed = ["queries" if settings.name == "square" else "iterations", *["target_classes"] * targeted]
    for key in needed:
        if getattr(settings, key) is None:
            raise SpecError(f"attacks: expected {key} of {settings.name}, got none")
    if targeted and (settings.target_classes or 0) >= classes:
        raise SpecError(
            f"attacks: expected at most {classes - 1} target_classes of {settings.name}, got {settings.target_classes}"
        )


def _square_fits(height: int, width: int) -> bool:
    """Whether the package's Square can start in L2 or L1: its tiles, a fifth of the height, must fit."""
    tile = height // 5
    start = (height - 5 * tile) // 2
    return tile == 1 or (tile > 1 and all(start + side // tile * tile <= side for side in (height, width)))
