"""Plots of accuracies over |A|."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from sat_evaluation.figures.share_data import (
    LEAST_HEIGHT,
    MEASURES,
    Point,
    PublishedCurve,
    ShareCurve,
    published_on,
    share_curves,
)
from sat_evaluation.report.axes import Axis
from sat_evaluation.report.charts import Curve, Level, Mark, Plot, ends
from sat_evaluation.report.words import MOST_CURVES, PERCENT, bars_of, cut, of_images
from sat_evaluation.results.baseline import Baseline
from sat_evaluation.results.curves import Group
from sat_evaluation.results.rows import Row, attacks_of, together
from sat_evaluation.results.text import percent


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
    for ours in by_number[:MOST_CURVES]:
        for curve in ours:
            if curve.path:
                curves.append(_arms(curve, hollow=both and curve.measure.startswith("clean")))
                curves += _baselines(curve) if curve.on_part else ()
        pale += [_published(curve, points) for curve in ours for points in curve.published]
    if not curves:
        return None
    full = [one for measure in measures for one in published_on(published, measure) if one.full is not None]
    levels = tuple(
        Level(
            y=100 * y,
            name=f"{Baseline.FULL.label}{'' if loss == 'ce' else f', {loss}'}, published",
            full=True,
            pale=True,
        )
        for y, loss in dict.fromkeys((one.full or 0.0, one.loss) for one in full)
    )
    everything = (*curves, *pale)
    groups = [g for curve, *_ in by_number[:MOST_CURVES] for g in curve.arms.points]
    return Plot(
        title=title,
        text=f"{' and '.join(MEASURES[m] for m in measures)} in percent over the share of the training set in A",
        # beyond 0 and 100, so that the markers of baselines are whole
        x=Axis(label="|A|: part that is attacked (%)", low=-3, high=103, ticks=(0, 20, 40, 60, 80, 100)),
        y=_accuracy_axis(everything, levels, "accuracy on test images (%)"),
        curves=everything,
        levels=levels,
        notes=(*bars_of(groups), *cut(by_number)),
        measured=attacks_of(rows),
    )


def beside(studies: Sequence[tuple[str, Sequence[Row]]]) -> Plot | None:
    """Draw robust accuracy over |A| of several studies, each curve under the name of its study.

    Studies that were evaluated at different levels are drawn at one that all of them have. Without one, the names of
    the curves have the attacks.
    """
    level, *others = {row.level for row in together(row for _, rows in studies for row in rows)} or [""]
    plots = []
    for name, rows in studies:
        # at the common level if there is one; a study has more arms at its own
        like = [row.at(level) or row for row in rows] if not others else rows
        plot = over_share(like, ("robust",), "")
        if plot is not None:
            plots.append((f"{name} ({plot.measured})" if others else name, plot))
    # without offsets: they set the curves of one study apart, and are in the way among those of several
    everyone = [
        attrs.evolve(c, name=name if len(plot.curves) == 1 else f"{name}: {c.name}", marks=_without_offset(c.marks))
        for name, plot in plots
        for c in plot.curves
    ]
    if not everyone:
        return None
    curves = tuple(attrs.evolve(curve, number=number) for number, curve in enumerate(everyone[:MOST_CURVES]))
    first, title = plots[0][1], "Robust accuracy of all studies"
    axis = _accuracy_axis(curves, (), first.y.label)
    measured = " / ".join(dict.fromkeys(plot.measured for _, plot in plots))
    return attrs.evolve(first, title=title, curves=curves, y=axis, levels=(), notes=cut(everyone), measured=measured)


def _without_offset(marks: Sequence[Mark]) -> tuple[Mark, ...]:
    return tuple(attrs.evolve(mark, offset=0.0) for mark in marks)


def _arms(curve: ShareCurve, *, hollow: bool) -> Curve:
    marks = tuple(
        # curves share their baselines: moved apart, one would be drawn as several
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


def _mark(point: Point, measure: str, *, offset: float = 0.0, tip: str = "") -> Mark:
    if not tip and point.group is not None:
        interval = f"{point.value:.1f} % [{point.low:.1f}, {point.high:.1f}]"
        tip = f"{_size(point.group)}: {MEASURES[measure]} {interval}, {of_images(point.group, measure)}"
    return Mark(
        x=point.share, y=point.value, low=point.low, high=point.high, tip=tip, offset=offset, deviation=point.deviation
    )


def _size(g: Group) -> str:
    row = g.rows[0]
    return row.baseline.label if row.baseline else f"{row.chosen}, {percent(row.share)} ({row.size:,})"


def _accuracy_axis(curves: Sequence[Curve], levels: Sequence[Level], label: str) -> Axis:
    values = [value for curve in curves for value in ends(curve.marks)] + [level.y for level in levels]
    return Axis.over(label, values, least=LEAST_HEIGHT, within=PERCENT)
