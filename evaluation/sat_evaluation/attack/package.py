"""The installed package with the four attacks of AutoAttack (Croce & Hein 2020)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any, final

import attrs

from sat_core.autoattack import AttackSettings
from sat_core.errors import NotInstalledError, install

if TYPE_CHECKING:
    import torch

    Perturb = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    """An attack on images `(n, c, h, w)` and labels `(n,)`; returns adversarial images."""


PACKAGES = ("pyautoattack", "autoattack")
"""Packages that are tried in turn: that on PyPI, then the authors'; modules and classes have the same names."""


@final
@attrs.frozen(kw_only=True)
class Package:
    """An installed package: its name and version, and its classes of attacks."""

    title: str
    apgd: Callable[..., Any]
    apgd_targeted: Callable[..., Any]
    fab: Callable[..., Any]
    square: Callable[..., Any]

    def check(self, attacks: tuple[AttackSettings, ...]) -> None:
        """Accept all of them: the package has every attack of AutoAttack."""

    def at_most(self, rows: int) -> None:
        """Do nothing: the package attacks each image once at a time, so that the size of the batch is the only one."""

    def attack(self, settings: AttackSettings, model: Callable[..., Any], **common: Any) -> Perturb:
        """Return an attack on `model` as a function of images `(n, c, h, w)` and labels.

        Args:
            settings: Which attack, and its budget; see `plan`.
            model: Returns the logits of images.
            **common: `norm`, eps, seed and device, as the package takes them.
        """
        name, iterations, targets = settings.name, settings.iterations, settings.target_classes
        common["n_restarts"] = settings.restarts
        silent = logging.Logger("autoattack", logging.CRITICAL + 1)  # Evaluation.warnings says what it would say
        if name == "square":
            # as AutoAttack calls it; by default the class stretches its schedule of squares to the number of queries
            made = self.square(model, n_queries=settings.queries, p_init=0.8, resc_schedule=False, **common)
        elif name == "fab":
            made = self.fab(model, n_iter=iterations, **common)
        elif name == "fab-t":
            made = self.fab(model, n_iter=iterations, n_target_classes=targets, targeted=True, **common)
        elif name == "apgd-t":
            made = self.apgd_targeted(model, n_iter=iterations, n_target_classes=targets, logger=silent, **common)
        else:
            made = self.apgd(model, n_iter=iterations, loss=name.removeprefix("apgd-"), logger=silent, **common)
        perturb: Perturb = made.perturb
        if common["norm"] != "L1":
            return perturb
        # as AutoAttack's standard version calls it (Croce & Hein 2021): from radii of 3 ε and 2 ε down to ε
        made.use_largereps = name.startswith("apgd")
        # its projection onto the ball and [0, 1] at once rounds last, where those of other norms clip
        return lambda x, y: perturb(x, y).clamp(0, 1)


def find_package() -> Package:
    """Return the first of `PACKAGES` that can be imported; NotInstalledError if there is none."""
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


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "of unknown version"
