"""Plots of the arms of a study: accuracies over |A|, over cost and over epochs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean

import attrs

from sat_core.accuracy import Accuracy
from sat_evaluation.figures.share_data import (
    LEAST_HEIGHT,
    MEASURES,
    Point,
    PublishedCurve,
    ShareCurve,
    curve_name,
    published_on,
    share_curves,
)
from sat_evaluation.report.charts import Axis, Curve, Level, Mark, Plot, ends
from sat_evaluation.results.baseline import Baseline
from sat_evaluation.results.curves import Group, group, listed_classes, series, spread
from sat_evaluation.results.rows import Row
from sat_evaluation.results.text import percent, shown

MOST = 12
"""Curves of one plot; more cannot be told apart."""
_WITHIN = (0.0, 100.0)


def over_share(
    rows: Sequence[Row], measures: Sequence[str], title: str, published: Sequence[PublishedCurve] = ()
) -> Plot | None:
    """Draw accuracies over |A|, robust ones filled, clean ones hollow; None if no arm has a place on a curve.

    Args:
        rows: Arms of one or several studies.
        measures: Keys of `MEASURES`.
        title: What is seen.
        published: Published curves, drawn pale.
    """
    both = len({measure.split("_")[0] for measure in measures}) > 1
    by_number = list(zip(*(share_curves(rows, measure, published) for measure in measures), strict=True))
    curves: list[Curve] = []
    pale: list[Curve] = []
    for ours in by_number[:MOST]:
        for curve in ours:
            if curve.path:
                curves.append(_arms(curve, hollow=both and curve.measure.startswith("clean")))
                curves += _baselines(curve) if curve.on_part else ()
        pale += [_published(curve, points) for curve in ours for points in curve.published]
    if not curves:
        return None
    full = [one.full for measure in measures for one in published_on(published, measure) if one.full is not None]
    levels = tuple(
        Level(y=100 * y, name=f"{Baseline.FULL.label}, published", full=True, pale=True) for y in dict.fromkeys(full)
    )
    everything = (*curves, *pale)
    groups = [g for curve, *_ in by_number[:MOST] for g in curve.arms.points]
    return Plot(
        title=title,
        text=f"{' and '.join(MEASURES[m] for m in measures)} in percent over the share of the training set in A",
        x=Axis(label="|A|: part that is attacked (%)", low=-3, high=103, ticks=(0, 20, 40, 60, 80, 100)),
        y=_accuracy_axis(everything, levels, "accuracy on test images (%)"),
        curves=everything,
        levels=levels,
        notes=(f"bars: {spread(groups)}", *_cut(by_number)),
    )


def beside(studies: Sequence[tuple[str, Sequence[Row]]]) -> Plot | None:
    """Draw robust accuracy over |A| of several studies, each curve under the name of its study."""
    plots = [(name, plot) for name, rows in studies if (plot := over_share(rows, ("robust",), "")) is not None]
    everyone = [
        attrs.evolve(c, name=name if len(plot.curves) == 1 else f"{name}: {c.name}", marks=_without_offset(c.marks))
        for name, plot in plots
        for c in plot.curves
    ]
    if not everyone:
        return None
    curves = tuple(attrs.evolve(curve, number=number) for number, curve in enumerate(everyone[:MOST]))
    first, title = plots[0][1], "Robust accuracy of all studies"
    axis = _accuracy_axis(curves, (), first.y.label)
    return attrs.evolve(first, title=title, curves=curves, y=axis, levels=(), notes=_cut(everyone))


def _without_offset(marks: Sequence[Mark]) -> tuple[Mark, ...]:
    return tuple(attrs.evolve(mark, offset=0.0) for mark in marks)


def _cut(curves: Sequence[object]) -> tuple[str, ...]:
    return (f"the first {MOST} of {len(curves)} curves are drawn",) if len(curves) > MOST else ()


def over_cost(rows: Sequence[Row]) -> Plot | None:
    """Draw robust accuracy over the gradient evaluations of training and ranking; None without curves."""
    everyone = [c for c in share_curves(rows, "robust") if c.arms.strategy != "listed"]
    if not everyone:
        return None
    arms = [curve.arms for curve in everyone[:MOST]]
    curves = [
        Curve(
            name=curve_name(c.arms, arms),
            number=n,
            marks=tuple(_mark(point, "robust", x=_cost(point.group)) for point in c.path if point.group is not None),
        )
        for n, c in enumerate(everyone[:MOST])
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
        notes=(f"bars: {spread(g for c in arms for g in c.points)}", *_cut(everyone)),
    )


def over_epochs(rows: Sequence[Row]) -> list[Plot]:
    """Draw the training loss, and the accuracies of the checks that chose the epoch; means over seeds."""
    groups = group(rows)
    names = arm_names(groups)
    several = any(len(g.rows) > 1 for g in groups)
    chosen = (
        "lines down: lowest to highest seed; large: a seed chose this epoch" if several else "large: the chosen epoch"
    )
    notes = (chosen, *_cut(groups))
    losses, checks = [], []
    for number, (name, g) in enumerate(list(zip(names, groups, strict=True))[:MOST]):
        epochs = range(min(len(row.results.losses) for row in g.rows))
        values = [[row.results.losses[e] for row in g.rows] for e in epochs]
        marks = tuple(_mean(e + 1, v, f"{name}, epoch {e + 1}: loss {fmean(v):.4g}") for e, v in enumerate(values))
        losses.append(Curve(name=name, number=number, marks=marks))
        for measure, hollow in (("robust", False), ("clean", True)):
            marks = tuple(_checked(g.rows, measure, name))
            checks.append(Curve(name=name, number=number, marks=marks, hollow=hollow))
    return [
        _epochs("Training loss", "mean loss of an epoch (nats)", losses, (0.0, float("inf")), _cut(groups)),
        _epochs("Checks that choose the epoch", "accuracy on the selection images (%)", checks, _WITHIN, notes),
    ]


def arm_names(groups: Sequence[Group]) -> list[str]:
    """Return names for groups of arms, with |A| in them, for charts that have no axis for |A|."""
    curves = series([row for g in groups for row in g.rows])
    curve_names = {row.arm: curve_name(c, curves) for c in curves for g in c.groups for row in g.rows}
    return [_arm_name(g.rows[0], curve_names.get(g.rows[0].arm, "")) for g in groups]


def _arm_name(row: Row, curve: str) -> str:
    if row.baseline:
        return row.baseline.label
    chosen = listed_classes(row)
    return f"A = {shown(chosen, 60)}" if chosen else f"{percent(row.share)} {curve or row.strategy}"


def _cost(g: Group) -> float:
    return 100 * fmean(row.cost_with_ranking for row in g.rows)


def _arms(curve: ShareCurve, *, hollow: bool) -> Curve:
    marks = tuple(
        _mark(point, curve.measure, offset=0.0 if point.group.rows[0].baseline else curve.offset)
        for point in curve.path
        if point.group is not None
    )
    line = curve.arms.strategy != "listed"
    return Curve(name=curve.name, number=curve.number, marks=marks, hollow=hollow, line=line)


def _baselines(curve: ShareCurve) -> Iterator[Curve]:
    """Curves of what the baselines reach on the classes in A, or in B, of each arm."""
    for baseline, points in ((Baseline.PLAIN, curve.plain), (Baseline.FULL, curve.full)):
        label = f"{baseline.label} on the same classes"
        marks = tuple(
            _mark(point, curve.measure, tip=f"{_size(point.group)}: {label} {point.value:.1f} %")
            for point in points
            if point.group is not None
        )
        if marks:
            yield Curve(name=f"{curve.name}, {label}", number=curve.number, marks=marks, reference=True)


def _published(curve: ShareCurve, points: Sequence[Point]) -> Curve:
    marks = tuple(
        _mark(point, curve.measure, tip=f"published: {percent(point.share / 100)}, {point.value:.1f} %")
        for point in points
    )
    name = f"{curve.name}, published"
    return Curve(name=name, number=curve.number, marks=marks, pale=True, line=len(marks) > 1)


def _mark(point: Point, measure: str, *, x: float | None = None, offset: float = 0.0, tip: str = "") -> Mark:
    if not tip and point.group is not None:
        interval = f"{point.value:.1f} % [{point.low:.1f}, {point.high:.1f}]"
        tip = f"{_size(point.group)}: {MEASURES[measure]} {interval}{_seeds(point.group)}"
    place = point.share if x is None else x
    return Mark(x=place, y=point.value, low=point.low, high=point.high, tip=tip, offset=offset)


def _size(g: Group) -> str:
    row = g.rows[0]
    return row.baseline.label if row.baseline else f"{row.strategy}, {percent(row.share)} ({row.size:,})"


def _seeds(g: Group) -> str:
    return f", mean of {len(g.rows)} seeds" if len(g.rows) > 1 else f", n = {g.rows[0].n:,}"


def accuracy(a: Accuracy) -> str:
    """Return an accuracy with its interval, as ``87.0 % [81.6, 91.0]``."""
    return f"{100 * a.value:.1f} % [{100 * a.low:.1f}, {100 * a.high:.1f}]"


def _accuracy_axis(curves: Sequence[Curve], levels: Sequence[Level], label: str) -> Axis:
    values = [value for curve in curves for value in ends(curve.marks)] + [level.y for level in levels]
    return Axis.over(label, values, least=LEAST_HEIGHT, within=_WITHIN)


def _mean(x: float, values: Sequence[float], tip: str, *, large: bool = False) -> Mark:
    return Mark(x=x, y=fmean(values), low=min(values), high=max(values), tip=tip, large=large)


def _checked(rows: Sequence[Row], measure: str, name: str) -> Iterator[Mark]:
    by_epoch: dict[int, list[float]] = {}
    for check in (check for row in rows for check in row.results.selection.checks):
        accuracies = check.robust if measure == "robust" else check.clean
        by_epoch.setdefault(check.epoch, []).append(100 * accuracies.all.value)
    chosen = {row.epoch for row in rows}
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
        y=Axis.over(label, ends(marks), within=within),
        curves=tuple(curve for curve in curves if curve.marks),
        notes=notes,
    )
