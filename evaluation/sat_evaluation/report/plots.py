"""What a report draws of the arms of a study: accuracies over |A|, over cost and over epochs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from statistics import fmean
from typing import Any

import attrs

from sat_evaluation.paper.published import Curve as Published
from sat_evaluation.report.charts import Axis, Curve, Level, Mark, Plot, spread
from sat_evaluation.results.curves import Group, Series, group, listed_classes, series
from sat_evaluation.results.curves import spread as intervals
from sat_evaluation.results.rows import Accuracy, Row
from sat_evaluation.results.table import BASELINES
from sat_evaluation.results.text import percent, shown

MEASURES = {
    "robust": "robust accuracy",
    "clean": "clean accuracy",
    "robust_a": "robust accuracy on A",
    "robust_b": "robust accuracy on B",
    "clean_a": "clean accuracy on A",
    "clean_b": "clean accuracy on B",
}
MOST = 12
"""Curves of one plot."""
_WITHIN = (0.0, 100.0)


def over_share(
    rows: Sequence[Row], measures: Sequence[str], title: str, theirs: Sequence[Published] = ()
) -> Plot | None:
    """Accuracies over |A|, robust ones filled, clean ones hollow; None if no arm has a place on it.

    A curve begins and ends in its baselines. On A or on B, baselines are curves of their own: their accuracy on the
    same classes as the arms'. theirs: published curves, drawn pale.
    """
    everyone = [c for c in series(rows) if c.strategy != "listed" or any(g.rows[0].units > 1 for g in c.groups)]
    found = everyone[:MOST]
    curves: list[Curve] = []
    pale: list[Curve] = []
    levels: list[Level] = []
    for number, ours in enumerate(found):
        name = curve_name(ours, found)
        for measure in measures:
            aside = 0.8 * (number - (len(found) - 1) / 2) if len(found) <= 6 else 0.0  # so that bars are seen
            on_part = "_" in measure
            marks = tuple(_marks(ours.groups if on_part else ours.points, measure, _share, aside))
            hollow = measure.startswith("clean") and len({m.split("_")[0] for m in measures}) > 1
            if marks:
                line = ours.strategy != "listed"
                curves.append(Curve(name=name, number=number, marks=marks, hollow=hollow, line=line))
            if marks and on_part:
                curves += _baselines(ours, measure, name, number)
        pale += [c for curve in theirs if curve.measure in measures for c in _published(curve, ours, name, number)]
    if not curves:
        return None
    levels += [
        Level(y=100 * curve.full, name="full AT, published", full=True, pale=True)
        for curve in theirs
        if curve.measure in measures and curve.full is not None and not curve.variant
    ]
    everything = (*curves, *pale)
    return Plot(
        title=title,
        text=f"{' and '.join(MEASURES[m] for m in measures)} in percent over the share of the training set in A",
        x=Axis(label="|A|: part that is attacked (%)", low=-3, high=103, ticks=(0, 20, 40, 60, 80, 100)),
        y=_accuracy_axis(everything, levels, "accuracy on test images (%)"),
        curves=everything,
        levels=tuple(dict.fromkeys(levels)),
        notes=(f"bars: {intervals(g for c in found for g in c.points)}", *_cut(everyone)),
    )


def beside(studies: Sequence[tuple[str, Sequence[Row]]]) -> Plot | None:
    """Robust accuracy over |A| of several studies, each curve by the name of its study."""
    plots = [(name, plot) for name, rows in studies if (plot := over_share(rows, ("robust",), "")) is not None]
    found = [
        attrs.evolve(c, name=name if len(plot.curves) == 1 else f"{name}: {c.name}", marks=_straight(c.marks))
        for name, plot in plots
        for c in plot.curves
    ]
    if not found:
        return None
    curves = tuple(attrs.evolve(curve, number=number) for number, curve in enumerate(found[:MOST]))
    first, title = plots[0][1], "Robust accuracy of all studies"
    axis = _accuracy_axis(curves, (), first.y.label)
    return attrs.evolve(first, title=title, curves=curves, y=axis, levels=(), notes=_cut(found))


def _straight(marks: Sequence[Mark]) -> tuple[Mark, ...]:
    return tuple(attrs.evolve(mark, aside=0.0) for mark in marks)


def _cut(curves: Sequence[object]) -> tuple[str, ...]:
    return (f"the first {MOST} of {len(curves)} curves are drawn",) if len(curves) > MOST else ()


def over_cost(rows: Sequence[Row]) -> Plot | None:
    """Robust accuracy over the gradient evaluations of training and ranking; None without curves."""
    everyone = [c for c in series(rows) if c.strategy != "listed"]
    found = everyone[:MOST]
    if not found:
        return None
    curves = [
        Curve(name=curve_name(c, found), number=n, marks=tuple(_marks(c.points, "robust", _cost)))
        for n, c in enumerate(found)
    ]
    costs = [mark.x for curve in curves for mark in curve.marks]
    return Plot(
        title="Robust accuracy over cost",
        text="robust accuracy in percent over gradient evaluations, those of the ranking among them",
        x=Axis.over(
            f"gradient evaluations{' of the source' * bool(rows[0].source)}, full AT = 100 %",
            [0, *costs],
            within=(-3.0, max(103.0, max(costs) + 3)),
        ),
        y=_accuracy_axis(curves, (), "robust accuracy (%)"),
        curves=tuple(curves),
        notes=(f"bars: {intervals(g for c in found for g in c.points)}", *_cut(everyone)),
    )


def over_epochs(results: Sequence[dict[str, Any]], rows: Sequence[Row]) -> list[Plot]:
    """Training loss, and the accuracies of the checks that chose the epoch; means over seeds."""
    groups = group(rows)
    by_arm = {result["arm"]: result for result in results}
    names = arm_names(groups)
    several = any(len(g.rows) > 1 for g in groups)
    chosen = (
        "lines down: lowest to highest seed; large: a seed chose this epoch" if several else "large: the chosen epoch"
    )
    notes = (chosen, *_cut(groups))
    losses, checks = [], []
    for number, (name, g) in enumerate(list(zip(names, groups, strict=True))[:MOST]):
        found = [by_arm[row.arm] for row in g.rows]
        epochs = range(min(len(result["losses"]) for result in found))
        values = [[result["losses"][e] for result in found] for e in epochs]
        marks = tuple(_mean(e + 1, v, f"{name}, epoch {e + 1}: loss {fmean(v):.4g}") for e, v in enumerate(values))
        losses.append(Curve(name=name, number=number, marks=marks))
        for measure, hollow in (("robust", False), ("clean", True)):
            marks = tuple(_checked(found, measure, name, {row.epoch for row in g.rows}))
            checks.append(Curve(name=name, number=number, marks=marks, hollow=hollow))
    return [
        _epochs("Training loss", "mean loss of an epoch (nats)", losses, (0.0, float("inf")), _cut(groups)),
        _epochs("Checks that choose the epoch", "accuracy on the selection images (%)", checks, _WITHIN, notes),
    ]


def curve_name(curve: Series, among: Sequence[Series]) -> str:
    """The strategy, unless all have the same, and the settings in which curves differ."""
    several = len({other.strategy for other in among}) > 1 or not curve.settings
    return ", ".join(filter(None, [curve.strategy if several else "", curve.settings]))


def arm_names(groups: Sequence[Group]) -> list[str]:
    """What the groups are called where there is no axis for |A|."""
    curves = series([row for g in groups for row in g.rows])
    several = {id(curve): curve_name(curve, curves) for curve in curves}
    owner = {row.arm: several[id(c)] for c in curves for g in c.groups for row in g.rows}
    return [_arm_name(g.rows[0], owner.get(g.rows[0].arm, "")) for g in groups]


def _arm_name(row: Row, curve: str) -> str:
    if row.baseline:
        return BASELINES[row.baseline]
    chosen = listed_classes(row)
    return f"A = {shown(chosen, 60)}" if chosen else f"{percent(row.share)} {curve or row.strategy}"


def _share(g: Group) -> float:
    return 100 * g.rows[0].share


def _cost(g: Group) -> float:
    return 100 * fmean(row.cost + row.ranking_gradients / row.full_at_gradients for row in g.rows)


def _marks(
    groups: Sequence[Group], measure: str, place: Callable[[Group], float], aside: float = 0.0
) -> Iterator[Mark]:
    for g in groups:
        a = g.part(measure)
        if a is not None:
            tip = f"{_size(g)}: {MEASURES[measure]} {accuracy(a)}{_seeds(g)}"
            yield _mark(place(g), a, tip, 0.0 if g.rows[0].baseline else aside)


def _size(g: Group) -> str:
    row = g.rows[0]
    return BASELINES.get(row.baseline, f"{row.strategy}, {percent(row.share)} ({row.size:,})")


def _seeds(g: Group) -> str:
    return f", mean of {len(g.rows)} seeds" if len(g.rows) > 1 else f", n = {g.rows[0].n:,}"


def accuracy(a: Accuracy) -> str:
    """``87.0 % [81.6, 91.0]``."""
    return f"{100 * a.value:.1f} % [{100 * a.low:.1f}, {100 * a.high:.1f}]"


def _mark(x: float, a: Accuracy, tip: str, aside: float) -> Mark:
    low, high = 100 * min(a.low, a.value), 100 * max(a.high, a.value)
    return Mark(x=x, y=100 * a.value, low=low, high=high, tip=tip, aside=aside)


def _baselines(curve: Series, measure: str, name: str, number: int) -> Iterator[Curve]:
    """What the baselines reach on the classes in A, or in B, of each arm."""
    for baseline in filter(None, (curve.none, curve.full)):
        called = f"{BASELINES[baseline.rows[0].baseline]} on the same classes"
        found = [(g, value) for g in curve.groups if (value := baseline.on_part_of(g, measure)) is not None]
        marks = tuple(
            _mark(_share(g), Accuracy(value, value, value), f"{_size(g)}: {called} {100 * value:.1f} %", 0.0)
            for g, value in found
        )
        if marks:
            yield Curve(name=f"{name}, {called}", number=number, marks=marks, reference=True)


def _published(theirs: Published, ours: Series, name: str, number: int) -> Iterator[Curve]:
    rule = ours.groups[0].rows[0].spec["weighting.rule"]
    values = {} if theirs.variant else theirs.like(ours.strategy, rule)
    marks = tuple(
        Mark(x=100 * s, y=100 * v, low=100 * v, high=100 * v, tip=f"published: {percent(s)}, {100 * v:.1f} %")
        for s, v in values.items()
    )
    if marks:
        yield Curve(name=f"{name}, published", number=number, marks=marks, pale=True, line=len(marks) > 1)


def _accuracy_axis(curves: Sequence[Curve], levels: Sequence[Level], label: str) -> Axis:
    """At least 20 points from top to bottom, so that small differences look small."""
    values = [value for curve in curves for value in spread(curve.marks)] + [level.y for level in levels]
    return Axis.over(label, values, least=20, within=_WITHIN)


def _mean(x: float, values: Sequence[float], tip: str, *, large: bool = False) -> Mark:
    return Mark(x=x, y=fmean(values), low=min(values), high=max(values), tip=tip, large=large)


def _checked(results: Sequence[dict[str, Any]], measure: str, name: str, chosen: set[int]) -> Iterator[Mark]:
    by_epoch: dict[int, list[float]] = {}
    for result in results:
        for check in result["selection"]["checks"]:
            by_epoch.setdefault(check["epoch"], []).append(100 * check[f"{measure}_accuracy"]["all"]["value"])
    for epoch, values in sorted(by_epoch.items()):
        tip = f"{name}, epoch {epoch}: {MEASURES[measure]} {fmean(values):.1f} %" + ", chosen" * (epoch in chosen)
        yield _mean(epoch, values, tip, large=epoch in chosen)


def _epochs(
    title: str, label: str, curves: Sequence[Curve], within: tuple[float, float], notes: tuple[str, ...]
) -> Plot:
    marks = [mark for curve in curves for mark in curve.marks]
    x = Axis.over("epoch", [mark.x for mark in marks], within=(0.0, float("inf")))
    return Plot(
        title=title,
        text=f"{label} over the epochs of the training",
        x=attrs.evolve(x, ticks=tuple(tick for tick in x.ticks if tick == int(tick))),
        y=Axis.over(label, spread(marks), within=within),
        curves=tuple(curve for curve in curves if curve.marks),
        notes=notes,
    )
