"""Charts as values: what a template draws as SVG, in its own units, with words for whom cannot see it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, floor, log10
from typing import final

import attrs

from sat_evaluation.figures.share_data import limits

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 14, 46
COLOURS = 7
"""Of `style.css`; the curve after the last has the first colour again, and another marker."""
MARKERS = 5


@final
@attrs.frozen(kw_only=True)
class Mark:
    """One value with its interval, in the units of the axes. tip: what is said of it.

    aside: how far from its place it is drawn, so that bars do not hide each other.
    """

    x: float
    y: float
    low: float
    high: float
    tip: str
    large: bool = False
    aside: float = 0.0


@final
@attrs.frozen(kw_only=True)
class Curve:
    """Values of one kind. number: of its colour and marker. hollow: dashed, with empty markers. pale: of others.
    reference: a thin dotted line that others are held against.

    name: in the legend; curves of one name go and come together. line: whether its values are connected.
    """

    name: str
    number: int
    marks: tuple[Mark, ...]
    hollow: bool = False
    pale: bool = False
    reference: bool = False
    line: bool = True

    @property
    def style(self) -> str:
        """How `style.css` draws it: ``pale``, ``reference``, or empty for a curve with markers."""
        return "pale" if self.pale else "reference" if self.reference else ""


@final
@attrs.frozen(kw_only=True)
class Level:
    """A line across at `y`. full: dashed instead of dotted."""

    y: float
    name: str
    full: bool = False
    pale: bool = False


@final
@attrs.frozen(kw_only=True)
class Axis:
    """low to high, with ticks at numbers between them."""

    label: str
    low: float
    high: float
    ticks: tuple[float, ...]

    @classmethod
    def over(cls, label: str, values: Iterable[float], *, least: float = 0.0, within: tuple[float, float]) -> Axis:
        """Around `values` with some room, at least `least` long, nowhere outside of `within`."""
        low, high = limits(values, least, within)
        return cls(label=label, low=low, high=high, ticks=ticks(low, high))


@final
@attrs.frozen(kw_only=True)
class Plot:
    """Curves over two axes. title: what is seen; text: the same in a sentence, for whom cannot see it."""

    title: str
    text: str
    x: Axis
    y: Axis
    curves: tuple[Curve, ...]
    levels: tuple[Level, ...] = ()
    notes: tuple[str, ...] = ()

    def at(self, mark: Mark) -> float:
        """Where a mark is drawn, from the left."""
        return self.left(mark.x + mark.aside)

    def left(self, x: float) -> float:
        """Where `x` is, from the left."""
        return round(LEFT + (x - self.x.low) / (self.x.high - self.x.low) * (WIDTH - LEFT - RIGHT), 1)

    def down(self, y: float) -> float:
        """Where `y` is, from the top."""
        share = (y - self.y.low) / (self.y.high - self.y.low)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    def path(self, curve: Curve) -> str:
        """The line of a curve, as SVG has it."""
        return "M" + "L".join(f"{self.at(mark)} {self.down(mark.y)}" for mark in curve.marks)

    @property
    def legend(self) -> list[tuple[str, int, str]]:
        """(name, number, class of its style), each once."""
        return list(dict.fromkeys((curve.name, curve.number, curve.style) for curve in self.curves))

    @property
    def styles(self) -> bool:
        """Whether some curves are hollow and others are not, so that this has to be told."""
        return len({curve.hollow for curve in self.curves if not curve.pale and not curve.reference}) > 1


@final
@attrs.frozen(kw_only=True)
class Cell:
    """value: a share, None where there is none. published: what others published. framed: see the chart's text."""

    value: float | None
    tip: str
    published: float | None = None
    framed: bool = False


@final
@attrs.frozen(kw_only=True)
class Matrix:
    """A line of cells for each name in `lines`, a column for each in `columns`."""

    title: str
    text: str
    lines: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()


@final
@attrs.frozen(kw_only=True)
class Part:
    """A piece of a bar. number: of its colour, negative for grey. published: what others published."""

    value: float
    number: int
    tip: str
    published: float | None = None


@final
@attrs.frozen(kw_only=True)
class Bars:
    """Bars from the left, each of one piece or several. highest: the end of the axis."""

    title: str
    text: str
    unit: str
    highest: float
    lines: tuple[tuple[str, tuple[Part, ...], str], ...]
    legend: tuple[tuple[str, int], ...] = ()
    stacked: bool = True
    notes: tuple[str, ...] = ()

    @property
    def ticks(self) -> tuple[float, ...]:
        """Numbers below the axis."""
        return ticks(0, self.highest)


def ticks(low: float, high: float, most: int = 6) -> tuple[float, ...]:
    """Up to `most` round numbers between two.

    >>> ticks(0, 100), ticks(0.13, 0.38)
    ((0.0, 20.0, 40.0, 60.0, 80.0, 100.0), (0.15, 0.2, 0.25, 0.3, 0.35))
    """
    rough = max(high - low, 1e-12) / (most - 1)
    size = 10.0 ** floor(log10(rough))
    step = next(step for factor in (1, 2, 5, 10) if (step := factor * size) >= rough * (1 - 1e-9))
    digits = max(0, -floor(log10(step)))
    return tuple(round(n * step, digits) for n in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1))


def spread(marks: Sequence[Mark]) -> list[float]:
    """All that the y axis has to show of `marks`."""
    return [value for mark in marks for value in (mark.low, mark.high)]
