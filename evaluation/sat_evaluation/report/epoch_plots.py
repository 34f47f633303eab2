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


def over_epochs(rows: Sequence[Row]) -> list[Plot]:
    """Draw the training loss, and the accuracies of the checks that chose the epoch; means over seeds."""
    groups = group(rows)
    names = arm_names(groups)
    several = any(len(g.rows) > 1 for g in groups)
    chosen = (
        "lines down: lowest to highest seed; large: a seed chose this epoch" if several else "large: the chosen epoch"
    )
    notes = (chosen, *cut(groups))
    losses, checks = [], []
    for number, (name, g) in enumerate(list(zip(names, groups, strict=True))[:MOST_CURVES]):
        epochs = range(min(len(row.results.losses) for row in g.rows))
        values = [[row.results.losses[e] for row in g.rows] for e in epochs]
        marks = tuple(_mean(e + 1, v, f"{name}, epoch {e + 1}: loss {fmean(v):.4g}") for e, v in enumerate(values))
        losses.append(Curve(name=name, number=number, marks=marks))
        for measure, hollow in (("robust", False), ("clean", True)):
            marks = tuple(_checked(g.rows, measure, name))
            checks.append(Curve(name=name, number=number, marks=marks, hollow=hollow))
    return [
        _epochs("Training loss", "mean loss of an epoch (nats)", losses, (0.0, float("inf")), cut(groups)),
        attrs.evolve(
            _epochs("Checks that choose the epoch", "accuracy on the selection images (%)", checks, PERCENT, notes),
            measured=" / ".join(dict.fromkeys(_attacks(row) for row in rows)),
        ),
    ]


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
