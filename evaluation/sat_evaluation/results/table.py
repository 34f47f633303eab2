"""The table of a study on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sat_evaluation.results.baseline import Baseline
from sat_evaluation.results.curves import Group, group, listed_classes, series, spread, varied
from sat_evaluation.results.headline import title
from sat_evaluation.results.rows import Row
from sat_evaluation.results.text import duration, percent, shown

_GAP = 2
_LEAST_IMPORTANT = ("time", "epoch", "share", "cost", "clean %", "on A", "on B")
"""Columns that are left out where the terminal is too narrow, the first of these first."""


def print_table(rows: Sequence[Row], console: Console | None = None) -> None:
    """Print one line per group of seeds, with the baselines first and last.

    Text may wrap, numbers do not. Where the terminal is too narrow, columns are left out, and a line below says which.
    """
    console = console or Console()
    blocks = _blocks(rows)
    columns, groups = table_cells(rows), [g for block in blocks for g in block]
    hidden: list[str] = []
    while _too_wide(columns, console.width) and (less := [name for name in _LEAST_IMPORTANT if name in columns]):
        hidden.append(less[0])
        del columns[less[0]]
    notes = [f"robust % [ ]: {spread(groups)}"]
    if "cost" in columns:
        notes.append(f"cost: gradient evaluations, {Baseline.FULL.label} = 100 %")
    if hidden:
        notes.append(f"only in summary.csv for lack of room: {', '.join(hidden)}")
    ends = {number - 1 for number in accumulate(map(len, blocks))} if len(blocks) > 3 else set()
    console.print(Text(title(rows), style="bold"))
    console.print(_table(columns, console.width, ends))
    for note in notes:
        console.print(Text(note, style="dim"))


def table_cells(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Return the heads of the table's columns with their cells, one per group of seeds."""
    return _columns(rows, [g for block in _blocks(rows) for g in block])


def _blocks(rows: Sequence[Row]) -> list[list[Group]]:
    baselines = [g for g in group(rows) if g.rows[0].baseline]
    plain, full = ([g for g in baselines if g.rows[0].baseline is which] for which in Baseline)
    return [plain, *(list(curve.groups) for curve in series(rows)), full]


def _columns(rows: Sequence[Row], groups: Sequence[Group]) -> dict[str, list[str]]:
    """Heads to cells, without empty columns."""
    firsts = [g.rows[0] for g in groups]
    chosen = {row.strategy for row in firsts if not row.baseline}
    how = [row.baseline.label if row.baseline else listed_classes(row) or row.strategy for row in firsts]
    several, listed = len(chosen) > 1, chosen == {"listed"}
    names = [row.baseline or f"{row.size:,}" for row in firsts]
    if not several and not listed:
        names = [
            f"{name} ({what})" if row.baseline else name for name, what, row in zip(names, how, firsts, strict=True)
        ]
    columns = {
        "|A|": names,
        "share": [percent(row.share) for row in firsts],
        "classes" if listed else "strategy": how if several or listed else [],
        **{key: [shown(row.settings.get(key, ""), 24) for row in firsts] for key in varied(rows)},
        "robust %": [_interval(g) for g in groups],
        "clean %": [f"{100 * g.accuracy('clean').value:.1f}" for g in groups],
        "on A": [_part(g, "robust_a") for g in groups],
        "on B": [_part(g, "robust_b") for g in groups],
        "epoch": [_span([row.epoch for row in g.rows]) for g in groups],
        "cost": [percent(g.mean("cost")) for g in groups],
        "time": [duration(g.mean("seconds")) for g in groups],
    }
    return {head: cells for head, cells in columns.items() if any(cells)}


def _interval(g: Group) -> str:
    robust = g.accuracy("robust")
    return f"{100 * robust.value:.1f} [{100 * robust.low:.1f}, {100 * robust.high:.1f}]"


def _part(g: Group, name: str) -> str:
    accuracy = g.part(name)
    return "" if accuracy is None else f"{100 * accuracy.value:.1f}"


def _span(values: list[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low}–{high}"


def _table(columns: dict[str, list[str]], width: int, ends: set[int]) -> Table:
    """The table, with text broken between words to fit `width`. ends: lines that an empty line follows."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, _GAP - 1, 0, 0), show_edge=False)
    excess = _too_wide(columns, width, least=False)
    for head, cells in columns.items():
        full, least = _width(head, cells, least=False), _width(head, cells)
        table.add_column(head, justify="left" if _is_text(head) else "right", width=max(least, full - excess))
        excess -= min(excess, full - least)
    for number, line in enumerate(zip(*columns.values(), strict=True)):
        table.add_row(*(Text(cell) for cell in line), end_section=number in ends)
    return table


def _too_wide(columns: dict[str, list[str]], width: int, *, least: bool = True) -> int:
    needed = sum(_width(head, cells, least=least) + _GAP for head, cells in columns.items()) - _GAP
    return max(0, needed - width)


def _width(head: str, cells: list[str], *, least: bool = True) -> int:
    """Width of a column; the `least` one is that with text broken at every space."""
    return max(
        cell_len(part) for cell in (head, *cells) for part in (cell.split() if least and _is_text(head) else [cell])
    )


def _is_text(head: str) -> bool:
    return head in ("|A|", "strategy", "classes", "backend") or "." in head
