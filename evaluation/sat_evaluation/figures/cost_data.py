"""Accuracy over the cost of the training as values: matplotlib and the HTML report draw the same points and fronts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from statistics import fmean
from typing import final

import attrs

from sat_core.spec import DEFAULTS
from sat_evaluation.results.curves import Group, group, method_name, varied
from sat_evaluation.results.rows import Row
from sat_evaluation.results.text import shown

COSTS = {"cost_with_ranking": "gradient evaluations", "training_seconds": "seconds of training"}
"""Fields of `sat_evaluation.results.rows.Row` in words."""
WITH_RANKING = "seconds_with_ranking"
"""A cost that is no field of `Row`: seconds of training, and those of the ranking where the arm needs one."""
AVERAGING = "training.averaging"
_SPACING = 0.013
"""Distance between points of the same cost, which would hide each other, as a share of the axis."""


@final
@attrs.frozen(kw_only=True)
class Method:
    """How arms were trained, apart from |A|: what a colour and a marker stand for.

    Attributes:
        name: Strategy or baseline, and the settings that are not the defaults, such as ``hardest, trades``.
        number: Place among the names, which decides colour and marker.
        averaged: Whether it is drawn hollow, because its weights have the one average of the study.
    """

    name: str
    number: int
    averaged: bool


@final
@attrs.frozen(kw_only=True)
class CostPoint:
    """Arms that differ in their seeds only, in percent; of seconds, `cost` is in seconds.

    Attributes:
        group: The arms.
        method: How they were trained.
        cost: Mean cost over the seeds.
        value: The accuracy, a mean if there are several seeds.
        low: Lower end of its 95 % interval over test images.
        high: Upper end of it.
        deviation: Standard deviation over the seeds; 0 of one seed.
        efficient: Whether no other point has at least this accuracy at no more cost.
        offset: How far to the right a drawing moves it, so that error bars do not hide each other.
    """

    group: Group
    method: Method
    cost: float
    value: float
    low: float
    high: float
    deviation: float = 0.0
    efficient: bool = False
    offset: float = 0.0


def cost_points(rows: Sequence[Row], measure: str, cost: str = "cost_with_ranking") -> list[CostPoint]:
    """Return a point for each group of seeds, in the order of their methods.

    Args:
        rows: Arms of a study, as `sat_evaluation.results.rows.collect` returns them.
        measure: ``robust`` or ``clean``.
        cost: A key of `COSTS`, or `WITH_RANKING`.
    """
    groups = group(rows)
    points = [
        _point(g, method, measure, cost) for g, method in sorted(zip(groups, _methods(groups), strict=True), key=_place)
    ]
    best = {id(point) for point in front(points)}
    offsets = _offsets(points)
    return [
        attrs.evolve(point, efficient=id(point) in best, offset=offset)
        for point, offset in zip(points, offsets, strict=True)
    ]


def front(points: Sequence[CostPoint]) -> list[CostPoint]:
    """Return the points that no other one dominates, by their means, the cheapest first.

    A point dominates another one if it costs no more and is at least as accurate, and better in one of both.
    """
    efficient: list[CostPoint] = []
    # of those with the same cost, the most accurate comes first; the others are dominated, but for equal ones
    for point in sorted(points, key=lambda point: (point.cost, -point.value)):
        best = efficient[-1] if efficient else None
        if best is None or point.value > best.value or (point.cost, point.value) == (best.cost, best.value):
            efficient.append(point)
    return efficient


def costs_differ(rows: Sequence[Row]) -> bool:
    """Return whether accuracy over cost says something: at least three groups of arms, not all at one cost."""
    groups = group(rows)
    return len(groups) > 2 and len({g.mean("cost_with_ranking") for g in groups}) > 1


def average_of(rows: Sequence[Row]) -> str:
    """Return how weights are averaged where some arms have this one average and all others have none; else empty."""
    averages = dict.fromkeys(row.spec[AVERAGING] for row in rows)
    others = [average for average in averages if average != DEFAULTS[AVERAGING]]
    return shown(others[0]) if len(others) == 1 and len(averages) == 2 else ""


def _place(pair: tuple[Group, Method]) -> tuple[int, bool]:
    return pair[1].number, pair[1].averaged


def _methods(groups: Sequence[Group]) -> list[Method]:
    """The method of each group; plain training and full AT come first."""
    firsts = [g.rows[0] for g in groups]
    every = [row for g in groups for row in g.rows]
    keys, hollow = varied(every), average_of(every)
    # of one average, a hollow marker says enough; of several, each is a method of its own
    named = [key for key in keys if key != AVERAGING or not hollow]
    names = [method_name(row, named) for row in firsts]
    order = sorted(range(len(firsts)), key=lambda i: (firsts[i].baseline is None, firsts[i].share, i))
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names[i] for i in order))}
    return [
        Method(
            name=name,
            number=numbers[name],
            averaged=bool(hollow) and row.spec[AVERAGING] != DEFAULTS[AVERAGING],
        )
        for name, row in zip(names, firsts, strict=True)
    ]


def _point(g: Group, method: Method, measure: str, cost: str) -> CostPoint:
    accuracy = g.accuracy(measure)
    value, low, high = (100 * number for number in (accuracy.value, accuracy.low, accuracy.high))
    return CostPoint(
        group=g,
        method=method,
        cost=_mean_cost(g, cost),
        value=value,
        # rounding may leave a mean just outside of what it is the mean of
        low=min(low, value),
        high=max(high, value),
        deviation=100 * (g.deviation(measure) or 0.0),
    )


def _mean_cost(g: Group, cost: str) -> float:
    if cost == WITH_RANKING:
        rankings = (row.results.trained.cost.seconds.get("ranking") or 0.0 for row in g.rows)
        return g.mean("training_seconds") + fmean(rankings)
    return g.mean(cost) * (1 if cost.endswith("seconds") else 100)


def _offsets(points: Sequence[CostPoint]) -> list[float]:
    """How far to move each point: those of about the same cost lie side by side around it."""
    space = _SPACING * max((point.cost for point in points), default=0)
    offsets = [0.0] * len(points)
    order = sorted(range(len(points)), key=lambda i: (points[i].cost, i))
    starts: list[float] = []
    for i in order:
        near = starts and points[i].cost - starts[-1] < space
        starts.append(starts[-1] if near else points[i].cost)
    for _, pairs in groupby(zip(starts, order, strict=True), key=lambda pair: pair[0]):
        alike = [i for _, i in pairs]
        for place, i in enumerate(sorted(alike)):
            offsets[i] = space * (place - (len(alike) - 1) / 2)
    return offsets
