"""A chart with a line for each difference: its value and interval beside zero, and both in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import attrs

from sat_evaluation.report.axes import Axis


@final
@attrs.frozen(kw_only=True)
class Line:
    """One value with its interval, in the units of the axis.

    Attributes:
        name: What it is of.
        value, low, high: The value and the ends of its interval.
        n: Images that it is of.
        number: Decides the colour.
    """

    name: str
    value: float
    low: float
    high: float
    n: int
    number: int = 0

    @property
    def text(self) -> str:
        """Value and interval with their signs."""
        return f"{self.value:+.1f} [{self.low:+.1f}, {self.high:+.1f}]"


@final
@attrs.frozen(kw_only=True)
class Forest:
    """Values with their intervals below each other, along an axis that has zero.

    Attributes:
        title: Heading, and name of the CSV file.
        text: Alt text: what is drawn, in one sentence.
        what: What the lines are.
        x: The axis.
        lines: From top to bottom.
        legend: Names and colours of kinds of lines, where there are several.
        notes: Small print below.
        measured: The attacks that its robust accuracies are of.
    """

    title: str
    text: str
    what: str
    x: Axis
    lines: tuple[Line, ...]
    legend: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = ()
    measured: str = ""

    def left(self, value: float) -> str:
        """Return where a value is, in percent of the width."""
        return f"{100 * (value - self.x.low) / (self.x.high - self.x.low):.2f}"

    def wide(self, line: Line) -> str:
        """Return how long the interval of a line is, in percent of the width."""
        return f"{100 * (line.high - line.low) / (self.x.high - self.x.low):.2f}"


def axis_of(label: str, lines: Sequence[Line]) -> Axis:
    """Return an axis that has all intervals, and zero."""
    ends = [end for line in lines for end in (line.low, line.high)]
    return Axis.over(label, [0.0, *ends], within=(-100.0, 100.0))
