"""A number with its 95 % interval."""

from __future__ import annotations

from math import isfinite
from typing import final

import attrs

from sat_core.errors import DataError

Z = 1.959963984540054
"""The normal distribution has 95 % of its mass within this many standard deviations of its mean."""


@final
@attrs.frozen
class Interval:
    """A number with its 95 % interval.

    Attributes:
        value: The estimate.
        low, high: Ends of the interval, low <= high. Infinite where the data say nothing of that side.
    """

    value: float
    low: float
    high: float

    def __attrs_post_init__(self) -> None:
        if not self.low <= self.high:
            raise DataError(f"interval: expected low <= high, got [{self.low}, {self.high}]")

    @property
    def bounded(self) -> bool:
        """Whether both ends are finite."""
        return isfinite(self.low) and isfinite(self.high)

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __neg__(self) -> Interval:
        return Interval(-self.value, -self.high, -self.low)

    def __str__(self) -> str:
        """``-1.8 [-3.9, +0.3]`` of a difference of shares, in points."""
        return f"{100 * self.value:+.1f} [{100 * self.low:+.1f}, {100 * self.high:+.1f}]"
