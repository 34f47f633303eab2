"""Charts as values that a template draws as SVG, with alt text for screen readers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import attrs

from sat_evaluation.report.axes import Axis, ticks

WIDTH, HEIGHT = 480, 288
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 12, 28
"""Size of a plot and the margins around its axes, in the units of its ``viewBox``. It is no wider than this: on a phone
it shrinks to six tenths, where ``charts.css`` makes the text of ticks larger. Labels of axes are outside, in HTML.
"""
COLOURS = 7
"""Colours in ``style.css``. The curve after the last one has the first colour again, with another marker."""
MARKERS = 5
"""Shapes in ``macros.html``. 5 and 7 have no common divisor, so that 35 curves look different."""


@final
@attrs.frozen(kw_only=True)
class Label:
    """The name of a mark, `dx` to the right and `dy` below it. anchor: as in SVG. seen: whether there is room."""

    dx: float
    dy: float
    anchor: str
    name: str = ""
    seen: bool = False


@final
@attrs.frozen(kw_only=True)
class Mark:
    """One value with its interval, in the units of the axes.

    Attributes:
        x: Its place.
        y: The value.
        low: Lower end of the error bar.
        high: Upper end of the error bar.
        tip: What is shown beside the pointer.
        large: Whether it is marked out among the others, as the epoch that was chosen.
        offset: How far to the right of `x` it is drawn, so that error bars do not hide each other.
        deviation: Standard deviation over seeds, a second bar; 0 of one seed.
        label: Its name; None if the curve's name is enough.
    """

    x: float
    y: float
    low: float
    high: float
    tip: str
    large: bool = False
    offset: float = 0.0
    deviation: float = 0.0
    label: Label | None = None


@final
@attrs.frozen(kw_only=True)
class Curve:
    """Values that share a colour and a marker.

    Attributes:
        name: In the legend. A click there hides or shows all curves of the name.
        number: Decides colour and marker.
        marks: The values, from left to right.
        hollow: Whether it is dashed, with empty markers.
        pale: Whether it is drawn broad and pale, behind the others: published values.
        reference: Whether it is a thin dotted line without markers, to compare others with.
        thin: Whether it is a line without markers.
        line: Whether its marks are connected.
    """

    name: str
    number: int
    marks: tuple[Mark, ...]
    hollow: bool = False
    pale: bool = False
    reference: bool = False
    thin: bool = False
    line: bool = True

    @property
    def style(self) -> str:
        """Its class in ``charts.css``: ``pale``, ``reference``, ``thin``, or empty for a curve with markers."""
        return "pale" if self.pale else "reference" if self.reference else "thin" if self.thin else ""


@final
@attrs.frozen(kw_only=True)
class Level:
    """A horizontal line across the plot. full: dashed, not dotted. pale: broad and pale, a published value."""

    y: float
    name: str
    full: bool = False
    pale: bool = False


@final
@attrs.frozen(kw_only=True)
class Band:
    """An area between two lines, such as the interval of a fitted curve.

    Attributes:
        name: In the legend.
        number: Decides the colour.
        points: (x, low, high) from left to right, in the units of the axes.
    """

    name: str
    number: int
    points: tuple[tuple[float, float, float], ...]


@final
@attrs.frozen(kw_only=True)
class Plot:
    """Curves over two axes.

    Attributes:
        title: Heading, and name of the CSV file.
        text: Alt text: what is drawn, in one sentence.
        x: Horizontal axis.
        y: Vertical axis.
        curves: Curves, later ones drawn above earlier ones.
        levels: Horizontal lines.
        bands: Areas behind the curves.
        fillings: What filled and hollow curves stand for.
        notes: Small print below.
        measured: The attacks that its robust accuracies are of; empty if it has none.
    """

    title: str
    text: str
    x: Axis
    y: Axis
    curves: tuple[Curve, ...]
    levels: tuple[Level, ...] = ()
    bands: tuple[Band, ...] = ()
    fillings: tuple[str, str] = ("robust", "clean")
    notes: tuple[str, ...] = ()
    measured: str = ""

    def at(self, mark: Mark) -> float:
        """Return where a mark is drawn, from the left."""
        return self.left(mark.x + mark.offset)

    def left(self, x: float) -> float:
        """Return where the value `x` is, from the left."""
        # a tenth is less than a pixel; more digits would only make the file larger
        return round(LEFT + (x - self.x.low) / (self.x.high - self.x.low) * (WIDTH - LEFT - RIGHT), 1)

    def down(self, y: float) -> float:
        """Return where the value `y` is, from the top."""
        share = (y - self.y.low) / (self.y.high - self.y.low)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    def seeds(self, mark: Mark) -> tuple[float, float]:
        """Return the ends of the bar of the deviation, from the top; no accuracy is above 100 %."""
        low, high = mark.y - mark.deviation, mark.y + mark.deviation
        return self.down(max(low, self.y.low)), self.down(min(high, self.y.high))

    def path(self, curve: Curve) -> str:
        """Return the line of a curve as the data of an SVG path."""
        return "M" + "L".join(f"{self.at(mark)} {self.down(mark.y)}" for mark in curve.marks)

    def area(self, band: Band) -> str:
        """Return the outline of a band as the data of an SVG path: along its upper side, and back along the lower."""
        there = [f"{self.left(x)} {self.down(high)}" for x, _, high in band.points]
        back = [f"{self.left(x)} {self.down(low)}" for x, low, _ in reversed(band.points)]
        return f"M{'L'.join(there + back)}Z"

    @property
    def legend(self) -> list[tuple[str, int, str, bool]]:
        """Name, number and style of the curves, and whether they are lines, each name once."""
        return list(dict.fromkeys((curve.name, curve.number, curve.style, curve.line) for curve in self.curves))

    @property
    def styles(self) -> str:
        """What the legend says of hollow curves, where others are filled."""
        curves = [curve for curve in self.curves if not curve.style]
        if len({curve.hollow for curve in curves}) < 2:
            return ""
        dashed = ", dashed" if any(curve.hollow and curve.line for curve in curves) else ""
        return f"filled: {self.fillings[0]} · hollow{dashed}: {self.fillings[1]}"


@final
@attrs.frozen(kw_only=True)
class Cell:
    """One cell of a `Matrix`: a share in [0, 1], None where there is none, with the published one.

    Attributes:
        value: The share.
        tip: What is shown beside the pointer.
        published: The published share.
        framed: Has the meaning that the chart's text gives it.
        small: Whether it is of few images.
    """

    value: float | None
    tip: str
    published: float | None = None
    framed: bool = False
    small: bool = False


@final
@attrs.frozen(kw_only=True)
class Matrix:
    """A table of coloured cells: a line for each name in `lines`, a column for each in `columns`.

    corner: what lines and columns are.
    """

    title: str
    text: str
    lines: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[Cell, ...], ...]
    corner: str = "A"
    notes: tuple[str, ...] = ()
    measured: str = ""


@final
@attrs.frozen(kw_only=True)
class Part:
    """A piece of a bar. number: decides its colour, negative for grey. published: drawn as a tick."""

    value: float
    number: int
    tip: str
    published: float | None = None


@final
@attrs.frozen(kw_only=True)
class Bars:
    """Horizontal bars, each of one piece or several.

    Attributes:
        title: Heading, and name of the CSV file.
        text: Alt text: what is drawn, in one sentence.
        unit: Label of the axis.
        highest: End of the axis, which starts at 0.
        lines: Name of a bar, its pieces, and what is written at its end.
        legend: Names and colours of pieces.
        stacked: Whether pieces lie end to end, not below each other.
        notes: Small print below.
        measured: The attacks that its robust accuracies are of; empty if it has none.
    """

    title: str
    text: str
    unit: str
    highest: float
    lines: tuple[tuple[str, tuple[Part, ...], str], ...]
    legend: tuple[tuple[str, int], ...] = ()
    stacked: bool = True
    notes: tuple[str, ...] = ()
    measured: str = ""

    @property
    def ticks(self) -> tuple[float, ...]:
        """Ticks of the axis."""
        return ticks(0, self.highest)


def ends(marks: Sequence[Mark]) -> list[float]:
    """Return all values that the y axis has to show of `marks`."""
    return [value for m in marks for value in (m.low, m.high, m.y - m.deviation, m.y + m.deviation)]
