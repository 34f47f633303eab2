"""The record of a robustness evaluation, per example, and what can be computed from it."""

from __future__ import annotations

from typing import Any, final

import attrs
import numpy as np

from sat_core.errors import DataError

ROBUST, MISCLASSIFIED = -1, -2
"""Values of `Evaluation.broken_by` besides the number of an attack."""


@final
@attrs.frozen(kw_only=True, eq=False)
class Evaluation:
    """Which attack broke which example.

    label: int64 `(n,)`. broken_by: int64 `(n,)`, the number in `attacks` of the first attack that broke the example,
    `ROBUST` if none did, `MISCLASSIFIED` if the clean image was wrong already. attacks: one table per attack, in the
    order run (name, and the settings it ran with). precision: type that the network computes in, float32 unless it
    brings another. warnings: lines about the model, such as masked gradients, outputs that are no logits, and logits
    that change with the batch.
    """

    label: np.ndarray
    broken_by: np.ndarray
    attacks: tuple[dict[str, Any], ...]
    norm: str
    eps: float
    package: str
    engine: str = "package"
    precision: str = "float32"
    warnings: tuple[str, ...] = ()

    @property
    def correct(self) -> np.ndarray:
        """Clean image classified correctly, bool `(n,)`."""
        return self.broken_by != MISCLASSIFIED

    @property
    def robust(self) -> np.ndarray:
        """Correct on the clean image and under every attack, bool `(n,)`."""
        return self.broken_by == ROBUST

    def breakdown(self) -> list[dict[str, Any]]:
        """The attacks with how many examples each broke and the robust accuracy left after it."""
        left = int(self.correct.sum())
        rows = []
        for number, attack in enumerate(self.attacks):
            broken = int((self.broken_by == number).sum())
            left -= broken
            rows.append({**attack, "broken": broken, "robust_accuracy": left / len(self.label)})
        return rows


def wilson(successes: int, n: int) -> dict[str, float | int] | None:
    """A share with its 95 % Wilson interval as {value, n, low, high}; None for n = 0.

    >>> wilson(0, 10)["low"], round(wilson(0, 10)["high"], 4)
    (0.0, 0.2775)
    """
    if not 0 <= successes <= n:
        raise DataError(f"wilson: expected 0 <= successes <= n, got {successes} of {n}")
    if n == 0:
        return None
    z2 = 1.959963984540054**2
    share = successes / n
    centre, half = share + z2 / (2 * n), (z2 * (share * (1 - share) / n + z2 / (4 * n * n))) ** 0.5
    low, high = (centre - half) / (1 + z2 / n), (centre + half) / (1 + z2 / n)
    return {"value": share, "n": n, "low": low if successes else 0.0, "high": high if successes < n else 1.0}


def accuracies(good: np.ndarray, label: np.ndarray, classes: int | None, in_a: np.ndarray | None) -> dict[str, Any]:
    """Shares of `good` (bool `(n,)`) over all examples, those of A, those of B, and per class, with intervals.

    classes: how many there are; None leaves out the shares per class. in_a: bool `(n,)`, None where the evaluation data
    has no such split (ESAT).
    """

    def over(mask: np.ndarray) -> dict[str, float | int] | None:
        return wilson(int(good[mask].sum()), int(mask.sum()))

    found: dict[str, Any] = {
        "all": over(np.ones(len(good), bool)),
        "A": None if in_a is None else over(in_a),
        "B": None if in_a is None else over(~in_a),
    }
    if classes is not None:
        counts = np.bincount(label[good], minlength=classes), np.bincount(label, minlength=classes)
        found["per_class"] = [wilson(k, n) for k, n in zip(*(c.tolist() for c in counts), strict=True)]
    return found
