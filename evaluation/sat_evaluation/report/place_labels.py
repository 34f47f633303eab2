"""Names beside the marks of a plot, where there is room for them."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from sat_evaluation.report.charts import HEIGHT, LEFT, WIDTH, Label, Mark, Plot

_LETTER, _LINE = 6.5, 13.0
"""Size of a letter in units of the ``viewBox``, between those of a desk and of a phone."""
_MARKER = 6.0
_SIDES = (
    Label(dx=8, dy=4, anchor="start"),
    Label(dx=-8, dy=4, anchor="end"),
    Label(dx=5, dy=19, anchor="start"),
    Label(dx=-5, dy=-7, anchor="end"),
    Label(dx=5, dy=-7, anchor="start"),
    Label(dx=-5, dy=19, anchor="end"),
)

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def with_labels(plot: Plot, names: Sequence[str]) -> Plot:
    """Name the marks of the last curve of a plot; a name that would hide another mark or name is not written.

    Args:
        plot: As it is drawn.
        names: One for each of its marks. All of them are in the table behind the plot.
    """
    *others, curve = plot.curves
    taken = [_marker(plot, mark) for each in plot.curves for mark in each.marks]
    marks = []
    for mark, name in zip(curve.marks, names, strict=True):
        label = attrs.evolve(_SIDES[0], name=name)
        for side in _SIDES:
            box = _label(plot, mark, name, side)
            inside = box[0] >= LEFT and box[2] <= WIDTH and box[1] >= 0 and box[3] <= HEIGHT
            if inside and not any(_overlap(box, other) for other in taken):
                label = attrs.evolve(side, name=name, seen=True)
                taken.append(box)
                break
        marks.append(attrs.evolve(mark, label=label))
    return attrs.evolve(plot, curves=(*others, attrs.evolve(curve, marks=tuple(marks))))


def _marker(plot: Plot, mark: Mark) -> Box:
    x, y = plot.at(mark), plot.down(mark.y)
    return x - _MARKER, y - _MARKER, x + _MARKER, y + _MARKER


def _label(plot: Plot, mark: Mark, name: str, side: Label) -> Box:
    left = plot.at(mark) + side.dx - (len(name) * _LETTER if side.anchor == "end" else 0)
    bottom = plot.down(mark.y) + side.dy
    return left, bottom - _LINE, left + len(name) * _LETTER, bottom


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
