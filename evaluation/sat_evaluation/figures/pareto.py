"""Robust and clean accuracy of a study over the cost of the training, with the arms that no other one dominates."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sat_evaluation.figures.canvas import BAR, COLOURS, GREY, GRID, drawing, heading
from sat_evaluation.figures.cost_data import COSTS, CostPoint, average_of, compares_methods, cost_points
from sat_evaluation.figures.share_data import MEASURES, accuracy_limits
from sat_evaluation.results.curves import spread
from sat_evaluation.results.headline import title
from sat_evaluation.results.rows import Row
from sat_evaluation.results.table import cost_unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MARKERS = "osD^vP"
_MOST = 20
"""Methods that are drawn; more cannot be told apart."""
_FRONT = {"color": GREY, "linewidth": 1, "linestyle": "--", "zorder": 0.5}


def pareto_figure(rows: Sequence[Row]) -> Figure | None:
    """Draw robust and clean accuracy over gradient evaluations, a colour and a marker for each method.

    Error bars are 95 % Wilson intervals of one seed, or lowest to highest of several. A dashed line joins the arms that
    no other one dominates, by their means.

    Args:
        rows: Arms of a study, as `sat_evaluation.results.rows.collect` returns them.

    Returns:
        The figure; None if the arms differ in |A| only: see `accuracy_figure`.

    Raises:
        NotInstalledError: matplotlib is missing.
    """
    if not compares_methods(rows):
        return None
    every = {measure: cost_points(rows, measure) for measure in ("robust", "clean")}
    methods = len({point.method.name for point in every["robust"]})
    drawn = {measure: [p for p in points if p.method.number < _MOST] for measure, points in every.items()}
    with drawing(8.6, 4.9) as figure:
        handles: dict[str, Any] = {}
        for axes, (measure, points) in zip(figure.subplots(1, 2), drawn.items(), strict=True):
            for point in points:
                handles.setdefault(point.method.name, _draw(axes, point))
            _front(axes, points)
            ends = [end for point in points for end in (point.low, point.high)]
            axes.set_ylim(accuracy_limits(ends, (-2, 102)))
            axes.set_xlim(0, 1.06 * max(point.cost for point in points))
            axes.set_ylabel(f"{MEASURES[measure]} (%)")
            axes.set_xlabel(f"{COSTS['cost_with_ranking']}, ranking included\n({cost_unit(rows)})")
            axes.grid(color=GRID)
        cut = f"the first {_MOST} of {methods} methods are drawn" if methods > _MOST else ""
        heading(figure, "Accuracy over the cost of the training", title(rows), cut)
        last = figure.axes[-1]
        bars = last.errorbar(
            [], [], yerr=[], **BAR, color="black", linestyle="", label=spread(p.group for p in drawn["robust"])
        )
        line = last.plot([], [], **_FRONT, label="no arm is better at no more cost")[0]
        hollow = average_of(rows)
        more = [last.plot([], [], **_look("black", "o", hollow=True), label=f"hollow: {hollow}")[0]] if hollow else []
        figure.legend(handles=[*handles.values(), *more, line, bars], loc="outside lower center", ncols=3, fontsize=8)
    return figure


def _draw(axes: Any, point: CostPoint) -> Any:
    """Draw a point with its error bar; return what the legend shows of its method, filled or hollow as the point."""
    method = point.method
    colour, marker = COLOURS[method.number % len(COLOURS)], _MARKERS[method.number % len(_MARKERS)]
    bars = [[point.value - point.low], [point.high - point.value]]
    look = _look(colour, marker, hollow=method.averaged)
    axes.errorbar([point.cost + point.offset], [point.value], yerr=bars, **look, **BAR)
    label = textwrap.fill(method.name, 36)
    # Points without the average come first: a method has a hollow marker here only if all of its points have one.
    return axes.plot([], [], **look, label=label)[0]


def _look(colour: str, marker: str, *, hollow: bool) -> dict[str, Any]:
    face = "white" if hollow else colour
    return {"color": colour, "marker": marker, "markerfacecolor": face, "markersize": 5, "linestyle": ""}


def _front(axes: Any, points: Sequence[CostPoint]) -> None:
    efficient = sorted((point for point in points if point.efficient), key=lambda point: point.cost)
    axes.plot([p.cost + p.offset for p in efficient], [p.value for p in efficient], **_FRONT)
