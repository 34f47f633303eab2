"""The record of a robustness evaluation, per example, and what can be computed from it."""

from __future__ import annotations

from collections.abc import Collection
from itertools import takewhile
from typing import final

import attrs
import numpy as np

from sat_core.accuracy import Accuracy, accuracies
from sat_core.autoattack import AttackSettings, level_of
from sat_core.display import html_table
from sat_core.json_fields import integer, json_field, number, part

ROBUST, MISCLASSIFIED = -1, -2
"""Values of `Evaluation.broken_by` besides the number of an attack."""


@final
@attrs.frozen(kw_only=True)
class AttackOutcome:
    """One attack of an evaluation.

    Attributes:
        settings: Name and budget.
        broken: How many examples it broke that no earlier attack had.
        robust_accuracy: Share of all examples that is left after it and all before it.
    """

    settings: AttackSettings = json_field(part(AttackSettings), inline=True)
    broken: int = json_field(integer())
    robust_accuracy: float = json_field(number(0, 1))


@final
@attrs.frozen(kw_only=True, eq=False, repr=False)
class Evaluation:
    """Which attack broke which example.

    Attributes:
        label: Classes of the examples, int64 `(n,)`.
        broken_by: Place in `attacks` of the first attack that broke each example, int64 `(n,)`; `ROBUST` if none did,
            `MISCLASSIFIED` if the clean image was wrong already.
        attacks: Their settings, in the order in which they ran.
        norm, eps: Threat model; eps in units of [0, 1] pixels.
        package: Name and version of the package that attacked.
        engine: One of `sat_core.autoattack.ENGINES`.
        precision: Type that the network computes in, float32 unless it brings another.
        batch_size: Examples that were attacked together, at the end: fewer than at first if memory ran out. None if the
            evaluator does not say.
        warnings: Lines about the model, such as masked gradients, outputs that are no logits, and logits that change
            with the batch.
    """

    label: np.ndarray
    broken_by: np.ndarray
    attacks: tuple[AttackSettings, ...]
    norm: str
    eps: float
    package: str
    engine: str = "package"
    precision: str = "float32"
    batch_size: int | None = None
    warnings: tuple[str, ...] = ()

    @property
    def correct(self) -> np.ndarray:
        """Clean image classified correctly, bool `(n,)`."""
        return self.broken_by != MISCLASSIFIED

    @property
    def robust(self) -> np.ndarray:
        """Correct on the clean image and under every attack, bool `(n,)`."""
        return self.broken_by == ROBUST

    @property
    def clean_accuracy(self) -> Accuracy:
        """Share of `correct`, with its 95 % Wilson interval."""
        return accuracies(self.correct, self.label, None, None).all

    @property
    def robust_accuracy(self) -> Accuracy:
        """Share of `robust`, with its 95 % Wilson interval."""
        return accuracies(self.robust, self.label, None, None).all

    @property
    def level(self) -> str:
        """The level of `sat_core.autoattack.LEVELS` that ran; ``custom`` for other attacks or settings."""
        return level_of(self.attacks, self.norm)

    def __repr__(self) -> str:
        robust, clean = self.robust_accuracy, self.clean_accuracy
        accuracies = f"robust_accuracy={robust.value:.3f}, clean_accuracy={clean.value:.3f}, n={robust.n}"
        return f"Evaluation({accuracies}, {self.norm}, eps={self.eps:.4g}, level={self.level})"

    def _repr_html_(self) -> str:
        rows: list[tuple[object, ...]] = [("none (clean images)", "", str(self.clean_accuracy))]
        rows += [(row.settings.name, row.broken, f"{100 * row.robust_accuracy:.1f} %") for row in self.breakdown()]
        threat = f"AutoAttack {self.level} ({self.package}), {self.norm}, eps = {self.eps:.4g}"
        heads = ("attack", "images broken", "accuracy left")
        return html_table(f"{threat}: robust accuracy {self.robust_accuracy}", heads, rows)

    def after(self, names: Collection[str]) -> Evaluation:
        """Return the evaluation as it stood after its first attacks, which are those that `names` has."""
        count = sum(1 for _ in takewhile(lambda attack: attack.name in names, self.attacks))
        broken_by = np.where(self.broken_by >= count, ROBUST, self.broken_by)
        return attrs.evolve(self, broken_by=broken_by, attacks=self.attacks[:count])

    def breakdown(self) -> tuple[AttackOutcome, ...]:
        """Return what each attack broke, and the robust accuracy left after it."""
        left = int(self.correct.sum())
        rows = []
        for place, settings in enumerate(self.attacks):
            broken = int((self.broken_by == place).sum())
            left -= broken
            rows.append(AttackOutcome(settings=settings, broken=broken, robust_accuracy=left / len(self.label)))
        return tuple(rows)
