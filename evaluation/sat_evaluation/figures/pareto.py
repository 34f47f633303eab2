"""Robust and clean accuracy of a study over the cost of the training, with the arms that no other one dominates."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sat_evaluation.figures.canvas import BAR, COLOURS, GREY, GRID, bar_handles, drawing, heading, seed_bars
from sat_evaluation.figures.cost_data import COSTS, WITH_RANKING, CostPoint, average_of, cost_points, costs_differ
from sat_evaluation.figures.share_data import MEASURES, accuracy_limits
from sat_evaluation.results.curves import of_seeds, spread
from sat_evaluation.results.headline import title
from sat_evaluation.results.rows import Row
from sat_evaluation.results.table import cost_unit
from sat_evaluation.results.text import percent, shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MARKERS = "osD^vP"
_MOST = 20
"""Methods that are drawn; more cannot be told apart."""
_MOST_SHARES = 16
"""Points beside which |A| is written; the texts of more would hide each other."""
_GRADIENTS = "cost_with_ranking"
_FRONT = {"color": GREY, "linewidth": 1, "linestyle": "--", "zorder": 0.5}


def pareto_figure(rows: Sequence[Row]) -> Figure | None:
    """Draw robust and clean accuracy over gradient evaluations and over measured time, with a colour for each method.

    Error bars are 95 % Wilson intervals over test images; of several seeds, broad pale bars are the standard deviation.
    A dashed line joins the arms that no other one dominates, by their means. Both costs include the ranking.

    Args:
        rows: Arms of a study, as `sat_evaluation.results.rows.collect` returns them.

    Returns:
        The figure; None of fewer than three arms, or if all cost the same.

    Raises:
        NotInstalledError: matplotlib is missing.
    """
    if not costs_differ(rows):
        return None
    panels = [
        (measure, cost, [p for p in cost_points(rows, measure, cost) if p.method.number < _MOST])
        for measure in ("robust", "clean")
        for cost in (_GRADIENTS, WITH_RANKING)
    ]
    methods = len({point.method.name for point in cost_points(rows, "robust")})
    with drawing(8.6, 7.4) as figure:
        handles: dict[str, Any] = {}
        for axes, (measure, cost, points) in zip(figure.subplots(2, 2, sharey="row").flat, panels, strict=True):
            for point in points:
                handles.setdefault(point.method.name, _draw(axes, point))
            if measure == "robust" and len(points) <= _MOST_SHARES:
                _shares(axes, points)
            _front(axes, points)
            ends = [end for point in points for end in (point.low, point.high)]
            ends += [point.value + sign * point.deviation for point in points for sign in (-1, 1)]
            axes.set_ylim(accuracy_limits(ends, (-2, 102)))
            # at least 1e-9: made-up results may have taken no time
            axes.set_xlim(0, 1.06 * max(1e-9, *(point.cost for point in points)))
            axes.set_ylabel(f"{MEASURES[measure]} (%)")
            axes.set_xlabel(_unit(rows, cost))
            axes.grid(color=GRID)
        cut = f"the first {_MOST} of {methods} methods are drawn" if methods > _MOST else ""
        heading(figure, "Accuracy over the cost of the training", title(rows), cut)
        last, groups = figure.axes[-1], [point.group for point in panels[0][2]]
        bars = bar_handles(last, spread(groups), of_seeds(groups))
        line = last.plot([], [], **_FRONT, label="no arm is better at no more cost")[0]
        hollow = average_of(rows)
        more = [last.plot([], [], **_look("black", "o", hollow=True), label=f"hollow: {hollow}")[0]] if hollow else []
        figure.legend(handles=[*handles.values(), *more, line, *bars], loc="outside lower center", ncols=3, fontsize=8)
    return figure


def _unit(rows: Sequence[Row], cost: str) -> str:
    of_source = " of the source" * bool(rows[0].source)
    if cost == _GRADIENTS:
        return f"{COSTS[cost]}{of_source}, ranking included\n({cost_unit(rows)})"
    devices = " / ".join(dict.fromkeys(row.results.device for row in rows))
    return f"measured {COSTS['training_seconds']}{of_source}, ranking included\n({shown(devices, 30)})"


def _shares(axes: Any, points: Sequence[CostPoint]) -> None:
    """Write |A| beside the points of proper subsets, unless their method names the classes."""
    for row, point in ((point.group.rows[0], point) for point in points):
        if row.baseline is not None or row.strategy == "listed":
            continue
        text, place = percent(row.share), (point.cost + point.offset, point.value)
        axes.annotate(text, place, (4, -9), textcoords="offset points", fontsize=7, color=GREY)


def _draw(axes: Any, point: CostPoint) -> Any:
    """Draw a point with its error bar; return what the legend shows of its method, filled or hollow as the point."""
    method = point.method
    colour, marker = COLOURS[method.number % len(COLOURS)], _MARKERS[method.number % len(_MARKERS)]
    bars = [[point.value - point.low], [point.high - point.value]]
    look = _look(colour, marker, hollow=method.averaged)
    seed_bars(axes, [(point.cost + point.offset, point.value, point.deviation)], colour)
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
