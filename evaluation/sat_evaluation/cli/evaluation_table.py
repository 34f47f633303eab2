"""AutoAttack on a checkpoint, as a table on the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sat_core.accuracy import Accuracy
from sat_core.errors import printable
from sat_core.evaluation import Evaluation
from sat_evaluation.cli.lines import GAP, print_lines
from sat_evaluation.results.text import epsilon


def print_evaluations(evaluations: Sequence[Evaluation], out: Path, console: Console | None = None) -> None:
    """Print accuracies for each ε, warnings, and where the results per example are."""
    console, first = console or Console(), evaluations[0]
    engine = "" if first.engine == "package" else f", {first.engine} engine"
    engine += "" if first.precision == "float32" else f", in {first.precision}"
    by = f"AutoAttack {first.level} ({first.package}{engine}), correct in %, n = {first.robust_accuracy.n:,}"
    print_lines(console, printable(by), "bold")
    for table in _tables(evaluations, console.width):
        console.print(table)
    for warning in dict.fromkeys(text for evaluation in evaluations for text in evaluation.warnings):
        print_lines(console, f"warning: {printable(warning)}")
    console.print(f"per-example results: {out}", markup=False, highlight=False, soft_wrap=True)


def _tables(evaluations: Sequence[Evaluation], width: int) -> Iterator[Table]:
    """A row for each ε; where that is too wide, a column, in as many tables as these need."""
    attacks = [f"after {attack.name}" for attack in evaluations[0].attacks]
    heads, lines = ["threat model", "clean", *attacks, "robust [95 %]"], [*map(_cells, evaluations)]
    if _width([heads, *lines], whole=False) <= width:
        yield _table([heads, *lines], width)
        return
    first, widest = _of_column(heads, whole=True), max(_of_column(line, whole=True) for line in lines)
    many = max(1, (width - first) // (widest + GAP))
    for start in range(0, len(lines), many):
        yield _table([[*line] for line in zip(heads, *lines[start : start + many], strict=True)], width)


def _table(lines: Sequence[Sequence[str]], width: int) -> Table:
    whole = _width(lines, whole=True) <= width
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, GAP - 1, 0, 0), show_edge=False)
    for place, column in enumerate(zip(*lines, strict=True)):
        table.add_column(Text(column[0]), justify="right" if place else "left", width=_of_column(column, whole))
    for line in lines[1:]:
        table.add_row(*map(Text, line))
    return table


def _width(lines: Sequence[Sequence[str]], whole: bool) -> int:
    return sum(_of_column(column, whole) + GAP for column in zip(*lines, strict=True)) - GAP


def _of_column(column: Sequence[str], whole: bool) -> int:
    """Width of a column whose cells are not broken, and whose head is broken between words unless it is `whole`."""
    head, *cells = column
    return max(map(cell_len, (*cells, *([head] if whole else head.split()))))


def _cells(evaluation: Evaluation) -> list[str]:
    robust = evaluation.robust_accuracy
    return [
        f"{evaluation.norm}, ε = {epsilon(evaluation.eps)}",
        _shown(evaluation.clean_accuracy),
        *(f"{100 * outcome.robust_accuracy:.1f}" for outcome in evaluation.breakdown()),
        f"{_shown(robust)} [{100 * robust.low:.1f}, {100 * robust.high:.1f}]",
    ]


def _shown(accuracy: Accuracy) -> str:
    return f"{100 * accuracy.value:.1f}"
