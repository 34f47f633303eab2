"""Defence rates by class as values: of each arm of a curve, and of its baselines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import attrs

from sat_evaluation.figures.arm_labels import arm_label
from sat_evaluation.figures.class_data import ClassCell
from sat_evaluation.results.curves import Group, mean_accuracy, series, varied
from sat_evaluation.results.measures import defence_by_class
from sat_evaluation.results.rows import Row


@final
@attrs.frozen(kw_only=True)
class DefenceLine:
    """Defence rate of arms on each class; cells as in the class matrix. label: the arms in words."""

    group: Group
    label: str
    cells: tuple[ClassCell, ...]


def defence_lines(rows: Sequence[Row]) -> list[DefenceLine]:
    """Return a line for each arm of the first curve, its baselines first and last; none without a proper subset.

    Args:
        rows: Arms of a study. Several seeds are averaged, with the interval for the fewest correct images of a seed.
    """
    keys = varied(rows)
    curves = series(rows)
    return [
        DefenceLine(group=g, label=arm_label(g.rows[0], keys), cells=tuple(_cells(g)))
        for g in (curves[0].points if curves else ())
    ]


def _cells(g: Group) -> list[ClassCell]:
    first = g.rows[0]
    by_class = zip(*map(defence_by_class, g.rows), strict=True)
    # the classes in A of a transfer are those of the source
    divided = not first.baseline and not first.source and not first.moving
    in_a = set(first.classes).intersection(*(row.classes for row in g.rows)) if divided else set()
    return [ClassCell(accuracy=mean_accuracy(seeds), framed=c in in_a) for c, seeds in enumerate(by_class)]
