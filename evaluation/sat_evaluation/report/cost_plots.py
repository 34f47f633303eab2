"""Plots of accuracies over the cost of the training, with the arms that no other one dominates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from sat_evaluation.figures.cost_data import COSTS, CostPoint, average_of, cost_points, front
from sat_evaluation.figures.share_data import LEAST_HEIGHT, MEASURES
from sat_evaluation.report.axes import Axis, ticks
from sat_evaluation.report.charts import COLOURS, Curve, Mark, Plot, ends
from sat_evaluation.report.words import MOST_CURVES, PERCENT, bars_of, of_images
from sat_evaluation.results.rows import Row, attacks_of
from sat_evaluation.results.table import cost_unit
from sat_evaluation.results.text import duration, percent

_CHARTS = (
    ("robust", "cost_with_ranking", "Robust accuracy over cost"),
    ("clean", "cost_with_ranking", "Clean accuracy over cost"),
    ("robust", "training_seconds", "Robust accuracy over the time of the training"),
)
"""Measure, field of `Row`, and title."""
_MOST_TICKS = 8
_FRONT = "no arm is better at no more cost"


def over_cost(rows: Sequence[Row]) -> Iterator[Plot]:
    """Draw accuracies over gradient evaluations and seconds, a mark for each group of seeds; nothing if all cost alike.

    Marks are joined where no other arm is at least as accurate at no more cost.
    """
    for measure, cost, title in _CHARTS:
        points = cost_points(rows, measure, cost)
        if len({point.cost for point in points}) > 1:
            yield _plot(points, rows, measure, cost, title)


def _plot(points: Sequence[CostPoint], rows: Sequence[Row], measure: str, cost: str, title: str) -> Plot:
    drawn = [point for point in points if point.method.number < MOST_CURVES]
    curves = {point.method: [p for p in drawn if p.method == point.method] for point in drawn}
    marks = {id(point): _mark(point, measure) for point in drawn}
    best = front(drawn)
    of_source = " of the source" * bool(rows[0].source)
    seconds = cost == "training_seconds"
    unit = f"{COSTS[cost]}{of_source}" if seconds else f"{COSTS[cost]}{of_source}, {cost_unit(rows)}"
    hollow, methods = average_of(rows), len({point.method.name for point in points})
    notes = [*bars_of([point.group for point in drawn])]
    notes += ["with the gradient evaluations of the ranking, where an arm needs one"] * (not seconds)
    notes += [f"the first {MOST_CURVES} of {methods} methods are drawn"] * (methods > MOST_CURVES)
    x = Axis.over(unit, [0, *(point.cost for point in drawn)], within=(0.0, float("inf")))
    return Plot(
        title=title,
        text=f"{MEASURES[measure]} in percent over {COSTS[cost]}, a mark for each method and size of A; a dotted line "
        f"joins the {len(best)} of {len(drawn)} that no other one dominates, by their means",
        x=attrs.evolve(x, ticks=ticks(x.low, x.high, _MOST_TICKS)),
        y=Axis.over(f"{MEASURES[measure]} (%)", ends(list(marks.values())), least=LEAST_HEIGHT, within=PERCENT),
        curves=(
            Curve(name=_FRONT, number=COLOURS - 1, marks=tuple(marks[id(point)] for point in best), reference=True),
            *(
                Curve(
                    name=method.name,
                    number=method.number,
                    marks=tuple(marks[id(point)] for point in sorted(own, key=lambda point: point.cost)),
                    hollow=method.averaged,
                    line=False,
                )
                for method, own in curves.items()
            ),
        ),
        fillings=("not averaged", f"averaged, {hollow}"),
        notes=tuple(notes),
        measured=attacks_of(rows) if measure == "robust" else "",
    )


def _mark(point: CostPoint, measure: str) -> Mark:
    g, row = point.group, point.group.rows[0]
    size = "" if row.baseline else f", {percent(row.share)} ({row.size:,})"
    average = f", {row.spec['training.averaging']}" if point.method.averaged else ""
    tip = (
        f"{point.method.name}{size}{average}: {MEASURES[measure]} {point.value:.1f} % "
        f"[{point.low:.1f}, {point.high:.1f}], {percent(g.mean('cost'))} of the gradient evaluations "
        f"({percent(g.mean('cost_with_ranking'))} with the ranking), trained in "
        f"{duration(g.mean('training_seconds'))}, {of_images(g, measure)}"
    )
    return Mark(
        x=point.cost,
        y=point.value,
        low=point.low,
        high=point.high,
        tip=tip,
        offset=point.offset,
        deviation=point.deviation,
    )
