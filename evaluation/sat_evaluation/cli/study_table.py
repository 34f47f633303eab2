"""The table of a study on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sat_evaluation.results.curves import of_seeds, spread
from sat_evaluation.results.headline import title
from sat_evaluation.results.marks import notes_of
from sat_evaluation.results.rows import Row
from sat_evaluation.results.table import (
    EVER_ATTACKED,
    METHOD,
    TIME,
    TIMES,
    cost_unit,
    robust_head,
    stage_seconds,
    table_blocks,
    table_cells,
    with_methods,
    with_total_time,
)
from sat_evaluation.results.text import duration

_GAP = 2
_LEAST_IMPORTANT = (TIMES, TIME, "epoch", "share", METHOD, EVER_ATTACKED, "cost", "clean %", "on A", "on B")
"""Columns that are left out where the terminal is too narrow, the first of these first. At `METHOD`, those of strategy
and settings become one, which stays; at `TIMES` their sum stays, and a line below has those of all arms."""
_LEAST_METHOD = 16
"""Cells of a method's name, in which words that are longer are broken."""


def print_table(rows: Sequence[Row], console: Console | None = None) -> None:
    """Print one line per group of seeds, with the baselines first and last.

    Text may wrap, numbers do not. Where the terminal is too narrow, columns are left out, and a line below says which.
    """
    console = console or Console()
    blocks = table_blocks(rows)
    columns, groups = table_cells(rows), [g for block in blocks for g in block]
    hidden: list[str] = []
    for name in _LEAST_IMPORTANT:
        if not _too_wide(columns, console.width):
            break
        if name == METHOD:
            columns = with_methods(columns, rows)
        elif name == TIMES:
            columns = with_total_time(columns, rows)
        elif columns.pop(name, None):
            hidden.append(name)
    notes = [f"{robust_head(rows)} [ ]: {spread(groups)}" + (f", ±: {seeds}" if (seeds := of_seeds(groups)) else "")]
    if "cost" in columns:
        notes.append(f"cost: gradient evaluations, {cost_unit(rows)}")
    if TIMES not in columns:
        training, checks, report = (duration(len(rows) * seconds) for seconds in stage_seconds(rows))
        notes.append(f"all arms: training {training}, checks {checks}, report {report}")
    notes += notes_of(row.mark for row in rows)
    if hidden:
        notes.append(f"only in summary.csv for lack of room: {', '.join(hidden)}")
    # with one curve there are three blocks, which need no lines between them, and neither do curves of one point
    apart = len(blocks) > 3 and any(len(curve) > 1 for curve in blocks[1:-1])
    ends = {number - 1 for number in accumulate(map(len, blocks))} if apart else set()
    console.print(Text(title(rows), style="bold"))
    console.print(_table(columns, console.width, ends))
    for note in notes:
        console.print(Text(note, style="dim"))


def _table(columns: dict[str, list[str]], width: int, ends: set[int]) -> Table:
    """The table, with text broken between words to fit `width`. ends: lines that an empty line follows."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, _GAP - 1, 0, 0), show_edge=False)
    excess = _too_wide(columns, width, least=False)
    for head, cells in columns.items():
        full, least = _width(head, cells, least=False), _width(head, cells)
        side: Literal["left", "right"] = "left" if _is_text(head) else "right"
        table.add_column(head, justify=side, overflow="fold", width=max(least, full - excess))
        excess -= min(excess, full - least)
    for number, line in enumerate(zip(*columns.values(), strict=True)):
        table.add_row(*(Text(cell) for cell in line), end_section=number in ends)
    return table


def _too_wide(columns: dict[str, list[str]], width: int, *, least: bool = True) -> int:
    needed = sum(_width(head, cells, least=least) + _GAP for head, cells in columns.items()) - _GAP
    return max(0, needed - width)


def _width(head: str, cells: list[str], *, least: bool = True) -> int:
    """Width of a column; the `least` one is that with text broken at every space."""
    longest = max(
        cell_len(part) for cell in (head, *cells) for part in (cell.split() if least and _is_text(head) else [cell])
    )
    return min(longest, _LEAST_METHOD) if least and head == METHOD else longest


def _is_text(head: str) -> bool:
    return head in ("|A|", METHOD, "strategy", "classes", "backend") or "." in head
