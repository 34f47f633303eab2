"""Accuracy on each class, of the arms that the opening compares."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from sat_core.accuracy import Accuracy
from sat_evaluation.report.gather import Run
from sat_evaluation.report.opening import subject_of
from sat_evaluation.report.table import Cell, Table
from sat_evaluation.report.words import arm_names
from sat_evaluation.results.curves import Group, group
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
    rows: list[tuple[Cell, ...]] = []
    lines: list[tuple[object, ...]] = []
    for number, name in enumerate(classes):
        cells: list[Cell] = [(shown(name, 40), shown(name, 40))]
        line: list[object] = [number, name]
        for g in groups:
            for measure in ("robust", "clean"):
                own = _of_class(g, measure, number)
                mean = fmean(each.value for each in own) if own else None
                cells.append(_cell(own, mean))
                line += [mean, *((own[0].low, own[0].high) if len(own) == 1 else (None, None))]
        n = next((each.n for g in groups for each in _of_class(g, "robust", number)), 0)
        cells.append((f"{n:,}", n))
        rows.append(tuple(cells))
        lines.append((*line, n))
    if not any(cell[0] != "–" for row in rows for cell in row[1:-1]):
        return None
    heads = [(names[g.rows[0].arm], measure) for g in groups for measure in ("robust", "clean")]
    columns = [f"{name}, {measure}{end}" for name, measure in heads for end in ("", ", low", ", high")]
    several = any(len(g.rows) > 1 for g in groups)
    return Table(
        heads=("class", *(f"{name}: {measure} %" for name, measure in heads), "n"),
        rows=tuple(rows),
        columns=("class", "name", *columns, "n"),
        lines=tuple(lines),
        file=f"{run.name.replace('/', '-')}-classes.csv",
        caption=f"Accuracy on each class in percent, {'means of seeds' if several else '[ ] 95 % Wilson interval'}; "
        f"{attacks_of(run.rows)}. Few images of a class make wide intervals.",
        title="Accuracy on each class",
    )


def _of_class(g: Group, measure: str, number: int) -> Sequence[Accuracy]:
    """Accuracies of the seeds on a class; empty unless all have one."""
    per_class = [getattr(row.results, measure).per_class or () for row in g.rows]
    own = [each[number] if number < len(each) else None for each in per_class]
    there = [each for each in own if each is not None]
    return there if len(there) == len(own) else ()


def _cell(own: Sequence[Accuracy], mean: float | None) -> Cell:
    if mean is None:
        return "–", -1.0
    interval = f" [{100 * own[0].low:.0f}, {100 * own[0].high:.0f}]" if len(own) == 1 else ""
    return f"{100 * mean:.1f}{interval}", mean
