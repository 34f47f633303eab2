"""The four attacks of AutoAttack (Croce & Hein 2020): the package that has them and the settings they run with."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any, final

import attrs
import numpy as np

from sat_core.autoattack import ATTACK_SETS, AUTOATTACK
from sat_core.classifier import Classifier
from sat_core.errors import NotInstalledError, SpecError, install, quoted
from sat_core.registry import nearest

if TYPE_CHECKING:
    import torch

    Perturb = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

PACKAGES = ("pyautoattack", "autoattack")
"""Where the attacks are looked for: PyPI's package first, then upstream's; their modules and classes agree."""
NORMS = ("L2", "Linf")
CLASSES_NEEDED = {"apgd-dlr": 3, "apgd-t": 4}
"""The DLR loss divides by a difference to the third logit, the targeted one by a difference to the fourth."""


@final
@attrs.frozen(kw_only=True)
class Package:
    """What is installed: name and version, and the classes of the attacks."""

    title: str
    apgd: Callable[..., Any]
    apgd_targeted: Callable[..., Any]
    fab: Callable[..., Any]
    square: Callable[..., Any]

    def check(self, attacks: tuple[dict[str, Any], ...]) -> None:
        """The package has all of them."""

    def attack(self, table: dict[str, Any], model: Callable[..., Any], **common: Any) -> Perturb:
        """The attack of `table` (see `plan`) on `model`, as a function of images `(n, c, h, w)` and labels.

        common: norm, eps, seed and device, as the package takes them.
        """
        name, common["n_restarts"] = table["name"], table["restarts"]
        silent = logging.Logger("autoattack", logging.CRITICAL + 1)  # Evaluation.warnings says what it would say
        if name == "square":
            made = self.square(model, n_queries=table["queries"], p_init=0.8, resc_schedule=False, **common)
        elif name == "fab":
            made = self.fab(model, n_iter=table["iterations"], **common)
        elif name == "fab-t":
            targets = table["target_classes"]
            made = self.fab(model, n_iter=table["iterations"], n_target_classes=targets, targeted=True, **common)
        elif name == "apgd-t":
            targets = table["target_classes"]
            made = self.apgd_targeted(
                model, n_iter=table["iterations"], n_target_classes=targets, logger=silent, **common
            )
        else:
            loss = name.removeprefix("apgd-")
            made = self.apgd(model, n_iter=table["iterations"], loss=loss, logger=silent, **common)
        perturb: Perturb = made.perturb
        return perturb


def find_package() -> Package:
    """The attacks of the first of `PACKAGES` that can be imported; NotInstalledError if there is none."""
    reasons = []
    for name in PACKAGES:
        try:
            apgd, fab, square = (import_module(f"{name}.{part}") for part in ("autopgd_base", "fab_pt", "square"))
            return Package(
                title=f"{name} {_version(name)}",
                apgd=apgd.APGDAttack,
                apgd_targeted=apgd.APGDAttack_targeted,
                fab=fab.FABAttack_PT,
                square=square.SquareAttack,
            )
        except (ImportError, AttributeError) as error:
            reasons.append(str(error))
    raise NotInstalledError(f"AutoAttack needs torch and pyautoattack ({'; '.join(reasons)}): {install('autoattack')}")


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


@final
class Model:
    """A classifier as the attacks call it: a function of tensors that tells `on_query` how many images it gets.

    engine: but for "package" the attacks get `Classifier.attacked_torch_module`, perhaps a faster copy, instead of the
    classifier itself. `exact` is that in any case, and says what is misclassified.
    """

    def __init__(self, classifier: Classifier, engine: str = "package") -> None:
        import torch

        self.module: torch.nn.Module = classifier.as_torch_module()
        self.attacked = self.module
        if engine != "package":
            self.attacked = classifier.attacked_torch_module(again=engine != "fast")  # our own ask once
        self.device = torch.device(classifier.torch_device)
        self.on_query: Callable[[int], None] = lambda images: None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self.on_query(len(x))
        logits: torch.Tensor = self.attacked(x)
        return logits

    def exact(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of the classifier itself."""
        self.on_query(len(x))
        logits: torch.Tensor = self.module(x)
        return logits

    def tensors(self, images: np.ndarray, labels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Copies of float32 images `(n, h, w, c)` as contiguous `(n, c, h, w)`, and of labels, on the device."""
        import torch

        x, y = images.transpose(0, 3, 1, 2).copy(), labels.copy()
        return torch.from_numpy(x).to(self.device), torch.from_numpy(y).to(self.device)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Evaluation mode, for layers that a way back computes anew, too, and no gradients for weights, to which FAB
        would add; afterwards everything is as it was.
        """
        training = [layer for layer in self.module.modules() if layer.training]
        learning = [p for p in self.module.parameters() if p.requires_grad]
        try:
            for layer in training:
                layer.training = False
            for p in learning:
                p.requires_grad_(False)
            yield
        finally:
            for layer in training:
                layer.training = True
            for p in learning:
                p.requires_grad_(True)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """No gradients, float32 and the CPU by default, torch's generators seeded as in the package; later as before."""
    import torch

    cuda: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    dtype, elsewhere = torch.get_default_dtype(), torch.get_default_device().type != "cpu"
    try:
        torch.set_default_dtype(torch.float32)
        with (
            torch.no_grad(),
            torch.device("cpu") if elsewhere else nullcontext(),
            torch.random.fork_rng(range(torch.cuda.device_count() * cuda), device_type="cuda"),
        ):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_default_dtype(dtype)
        if not cuda:  # torch keeps the last seed for the day when CUDA is used
            torch.cuda.manual_seed_all(torch.initial_seed())


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


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "of unknown version"
