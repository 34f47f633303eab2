"""Axes of a plot, and round numbers for their ticks."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil, floor, log10
from typing import final

import attrs

from sat_evaluation.figures.share_data import limits


@final
@attrs.frozen(kw_only=True)
class Axis:
    """An axis from `low` to `high`, with ticks between them."""

    label: str
    low: float
    high: float
    ticks: tuple[float, ...]

    @classmethod
    def over(cls, label: str, values: Iterable[float], *, least: float = 0.0, within: tuple[float, float]) -> Axis:
        """Make an axis around `values` with some room, at least `least` long and nowhere outside of `within`."""
        low, high = limits(values, least, within)
        return cls(label=label, low=low, high=high, ticks=ticks(low, high))


def ticks(low: float, high: float, most: int = 6) -> tuple[float, ...]:
    """Return up to `most` round numbers between two.

    >>> ticks(0, 100), ticks(0.13, 0.38)
    ((0.0, 20.0, 40.0, 60.0, 80.0, 100.0), (0.15, 0.2, 0.25, 0.3, 0.35))
    """
    rough = max(high - low, 1e-12) / (most - 1)
    size = 10.0 ** floor(log10(rough))
    # 1e-9: rounding errors must change neither the step nor whether the ends get a tick
    step = next(step for factor in (1, 2, 5, 10) if (step := factor * size) >= rough * (1 - 1e-9))
    digits = max(0, -floor(log10(step)))
    return tuple(round(n * step, digits) for n in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1))
