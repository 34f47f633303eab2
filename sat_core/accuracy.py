"""Accuracies with their intervals: over all examples, on A, on B, and per class."""

from __future__ import annotations

from typing import final

import attrs
import numpy as np

from sat_core.errors import DataError
from sat_core.json_fields import integer, json_field, number, optional, part, sequence

_Z = 1.959963984540054
"""The normal distribution has 95 % of its mass within this many standard deviations of its mean."""


@final
@attrs.frozen
class Accuracy:
    """A share of `n` examples with its 95 % Wilson interval.

    Attributes:
        value: Share in [0, 1].
        n: Number of examples.
        low, high: Ends of the interval.
    """

    value: float = json_field(number(0, 1))
    n: int = json_field(integer(1))
    low: float = json_field(number(0, 1))
    high: float = json_field(number(0, 1))

    @property
    def interval(self) -> tuple[float, float]:
        """(low, high)."""
        return self.low, self.high

    @property
    def count(self) -> int:
        """How many of the `n` examples."""
        return round(self.n * self.value)

    def __str__(self) -> str:
        """``81.5 % [77.4, 85.0]``."""
        return f"{100 * self.value:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"


@final
@attrs.frozen(kw_only=True)
class Accuracies:
    """One kind of accuracy, over all examples and over parts of them; None for a part without examples.

    Attributes:
        all: Over all examples.
        a, b: Over the classes in A and the others. None where A is made of examples (ESAT): evaluation data has no
            such parts.
        per_class: Over each class; None where it was not computed.
    """

    all: Accuracy = json_field(part(Accuracy))
    a: Accuracy | None = json_field(optional(part(Accuracy)), key="A")
    b: Accuracy | None = json_field(optional(part(Accuracy)), key="B")
    per_class: tuple[Accuracy | None, ...] | None = json_field(
        optional(sequence(optional(part(Accuracy)))), None, omit=True
    )


def wilson(successes: int, n: int) -> Accuracy | None:
    """Return the share of `successes` in `n` with its 95 % interval; None for n = 0 (Wilson 1927).

    >>> print(wilson(81, 263), wilson(0, 10), wilson(0, 0))  # Newcombe 1998, Table I, has the first two
    30.8 % [25.5, 36.6] 0.0 % [0.0, 27.8] None
    """
    if not 0 <= successes <= n:
        raise DataError(f"wilson: expected 0 <= successes <= n, got {successes} of {n}")
    if n == 0:
        return None
    # Not the normal approximation: at 0 %, where plain training ends under attack, its interval has no width.
    z2 = _Z**2
    share = successes / n
    centre, half = share + z2 / (2 * n), (z2 * (share * (1 - share) / n + z2 / (4 * n * n))) ** 0.5
    low, high = (centre - half) / (1 + z2 / n), (centre + half) / (1 + z2 / n)
    # at the ends the formula gives 0 and 1 but for rounding
    return Accuracy(value=share, n=n, low=low if successes else 0.0, high=high if successes < n else 1.0)


def accuracies(good: np.ndarray, label: np.ndarray, classes: int | None, in_a: np.ndarray | None) -> Accuracies:
    """Return the shares of `good` over all examples, on A, on B, and per class.

    Args:
        good: Bool `(n,)`, n >= 1.
        label: Classes of the examples, int64 `(n,)`.
        classes: How many there are; None leaves out the shares per class.
        in_a: Bool `(n,)`, None where the evaluation data has no such split (ESAT).
    """
    everything = wilson(int(good.sum()), len(good))
    if everything is None:
        raise DataError("accuracies: expected at least one example, got none")
    per_class = None
    if classes is not None:
        counts = np.bincount(label[good], minlength=classes), np.bincount(label, minlength=classes)
        per_class = tuple(wilson(k, n) for k, n in zip(*(c.tolist() for c in counts), strict=True))
    a, b = (None, None) if in_a is None else (wilson(int(good[m].sum()), int(m.sum())) for m in (in_a, ~in_a))
    return Accuracies(all=everything, a=a, b=b, per_class=per_class)
