"""Accuracy on each class, of the arms that the opening compares."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import stdev

from sat_core.accuracy import Accuracy
from sat_evaluation.report.gather import Run
from sat_evaluation.report.opening import subject_of
from sat_evaluation.report.table import Cell, Table
from sat_evaluation.report.words import arm_names, with_deviation
from sat_evaluation.results.curves import Group, group, mean_accuracy
from sat_evaluation.results.rows import attacks_of
from sat_evaluation.results.text import shown

_ARMS = 3


def class_table(run: Run) -> Table | None:
    """Make a table with a line for each class: robust and clean accuracy of plain training, about half, and full AT."""
    subject = subject_of(run.rows)
    every = group(run.rows)
    groups = [subject.plain, subject.half, subject.full] if subject else every[:_ARMS]
    names = dict(zip((g.rows[0].arm for g in every), arm_names(every), strict=True))
    classes = run.rows[0].class_names
    if len({row.class_names for g in groups for row in g.rows}) > 1:
        return None
    several = any(len(g.rows) > 1 for g in groups)
    rows: list[tuple[Cell, ...]] = []
    lines: list[tuple[object, ...]] = []
    for number, name in enumerate(classes):
        cells: list[Cell] = [(shown(name, 40), shown(name, 40))]
        line: list[object] = [number, name]
        for g in groups:
            for measure in ("robust", "clean"):
                own = _of_class(g, measure, number)
                mean = mean_accuracy(own) if own else None
                deviation = stdev(each.value for each in own) if len(own) > 1 else None
                cells.append(_cell(mean, deviation))
                line += [*((mean.value, mean.low, mean.high) if mean else (None,) * 3), *([deviation] * several)]
        n = next((each.n for g in groups for each in _of_class(g, "robust", number)), 0)
        cells.append((f"{n:,}", n))
        rows.append(tuple(cells))
        lines.append((*line, n))
    if not any(cell[0] != "–" for row in rows for cell in row[1:-1]):
        return None
    heads = [(names[g.rows[0].arm], measure) for g in groups for measure in ("robust", "clean")]
    ends = ("", ", low", ", high", *([", deviation"] * several))
    columns = [f"{name}, {measure}{end}" for name, measure in heads for end in ends]
    brackets = "±: standard deviation over seeds; the files have intervals" if several else "[ ] 95 % Wilson interval"
    return Table(
        heads=("class", *(f"{name}: {measure} %" for name, measure in heads), "n"),
        rows=tuple(rows),
        columns=("class", "name", *columns, "n"),
        lines=tuple(lines),
        file=f"{run.name.replace('/', '-')}-classes.csv",
        caption=f"Accuracy on each class in percent, {brackets}; {attacks_of(run.rows)}. Few images of a class make "
        "wide intervals.",
        title="Accuracy on each class",
    )


def _of_class(g: Group, measure: str, number: int) -> Sequence[Accuracy]:
    """Accuracies of the seeds on a class; empty unless all have one."""
    per_class = [getattr(row.results, measure).per_class or () for row in g.rows]
    own = [each[number] if number < len(each) else None for each in per_class]
    there = [each for each in own if each is not None]
    return there if len(there) == len(own) else ()


def _cell(mean: Accuracy | None, deviation: float | None) -> Cell:
    if mean is None:
        return "–", -1.0
    interval = f" [{100 * mean.low:.0f}, {100 * mean.high:.0f}]" if deviation is None else ""
    return f"{with_deviation(mean.value, deviation)}{interval}", mean.value
