"""Plots over the epochs of the trainings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean

import attrs

from sat_evaluation.figures.share_data import (
    MEASURES,
)
from sat_evaluation.report.axes import Axis
from sat_evaluation.report.charts import Curve, Mark, Plot, ends
from sat_evaluation.report.words import MOST_CURVES, PERCENT, arm_names, cut
from sat_evaluation.results.curves import group
from sat_evaluation.results.rows import Row

_SIGNS = {
    "pgd_accuracy": ("Single-step attacks: robustness", "PGD-10 accuracy of members of A"),
    "gradient_alignment": ("Single-step attacks: linearity", "gradient alignment on members of A"),
}
"""Field of `sat_core.result_parts.CollapseSummary` to title and label of its plot."""


def over_epochs(rows: Sequence[Row]) -> list[Plot]:
    """Draw the training loss, the checks that chose the epoch, and signs of catastrophic overfitting.

    Curves are means over seeds; the last two are of arms with single-step attacks, if there are any.
    """
    groups = group(rows)
    names = arm_names(groups)
    several = any(len(g.rows) > 1 for g in groups)
    chosen = (
        "lines down: lowest to highest seed; large: a seed chose this epoch" if several else "large: the chosen epoch"
    )
    notes = (chosen, *cut(groups))
    losses, checks = [], []
    signs: dict[str, list[Curve]] = {name: [] for name in _SIGNS}
    for number, (name, g) in enumerate(list(zip(names, groups, strict=True))[:MOST_CURVES]):
        losses.append(_each_epoch(name, number, "loss", [row.results.losses for row in g.rows]))
        watched = [row.results.collapse for row in g.rows if row.results.collapse]
        for sign in _SIGNS if watched else ():
            signs[sign].append(_each_epoch(name, number, _SIGNS[sign][1], [getattr(one, sign) for one in watched]))
        for measure, hollow in (("robust", False), ("clean", True)):
            marks = tuple(_checked(g.rows, measure, name))
            checks.append(Curve(name=name, number=number, marks=marks, hollow=hollow))
    return [
        _epochs("Training loss", "mean loss of an epoch (nats)", losses, (0.0, float("inf")), cut(groups)),
        attrs.evolve(
            _epochs("Checks that choose the epoch", "accuracy on the selection images (%)", checks, PERCENT, notes),
            measured=" / ".join(dict.fromkeys(_attacks(row) for row in rows)),
        ),
        *over_watched_epochs(rows),
        *(_epochs(*_SIGNS[sign], curves, (-1.0, 1.0), cut(groups)) for sign, curves in signs.items() if curves),
    ]


def over_watched_epochs(rows: Sequence[Row]) -> Iterator[Plot]:
    """Draw what `evaluation.watch` saw: robust accuracy that falls while clean accuracy rises is robust overfitting.

    Nothing where it was off.
    """
    seen = [row.results.watch for row in rows if row.results.watch]
    if not seen:
        return
    groups, curves = group(rows), []
    for number, (name, g) in enumerate(list(zip(arm_names(groups), groups, strict=True))[:MOST_CURVES]):
        for measure, hollow in (("robust", False), ("clean", True)):
            series = [[100 * share for share in getattr(r.results.watch, measure)] for r in g.rows if r.results.watch]
            if series:
                curve = _each_epoch(name, number, f"watched {measure} accuracy (%)", series)
                curves.append(attrs.evolve(curve, hollow=hollow))
    counts = sorted({watch.examples for watch in seen})
    images = f"{counts[0]:,} selection images" if len(counts) == 1 else "selection images"
    plot = _epochs("Robust overfitting", f"accuracy on {images} (%)", curves, PERCENT, cut(groups))
    yield attrs.evolve(plot, measured=f"PGD-10 after each epoch, {rows[0].threat}; weaker than AutoAttack")


def _each_epoch(name: str, number: int, measure: str, series: Sequence[Sequence[float]]) -> Curve:
    """Draw the mean of several trainings, for as long as all of them last."""
    values = [[each[e] for each in series] for e in range(min(map(len, series)))]
    marks = (_mean(e, v, f"{name}, epoch {e}: {measure} {fmean(v):.4g}") for e, v in enumerate(values, 1))
    return Curve(name=name, number=number, marks=tuple(marks))


def _attacks(row: Row) -> str:
    """How robust accuracy was measured in the checks, in the words of `Row.attacks`."""
    attacks, engine = row.results.selection.attacks, row.results.attacks.engine
    words = f"AutoAttack {attacks}" if isinstance(attacks, str) else " + ".join(attacks)
    return words if engine == "package" else f"{words} ({engine} engine)"


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
