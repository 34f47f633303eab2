"""Reproduced numbers beside the published ones, as tables on the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sat_core.run_folder import ReproductionFolder
from sat_evaluation.paper.compare import compare, summary


def print_comparison(out: ReproductionFolder, console: Console | None = None) -> None:
    """A table for each figure, and below it where the two disagree."""
    console = console or Console()
    for asked, pairs in compare(out):
        if not pairs:
            continue
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for head in ("data", "A", "accuracy"):
            table.add_column(head)
        for head in ("ours % [ ]", "published %", "difference"):
            table.add_column(head, justify="right", no_wrap=True)
        table.add_column("")
        for pair in pairs:
            ours = f"{100 * pair.ours.value:.1f} [{100 * pair.ours.low:.1f}, {100 * pair.ours.high:.1f}]"
            difference = f"{100 * (pair.ours.value - pair.published.value):+.1f}"
            cells = (pair.panel, pair.arm, pair.measure.replace("_a", " on A").replace("_b", " on B"), ours)
            table.add_row(
                *map(Text, (*cells, f"{100 * pair.published.value:.1f}", difference)), "" if pair.agree else "≠"
            )
        console.print(Text(f"{asked.figure} · scale {asked.scale} · protocol {asked.protocol}", style="bold"))
        console.print(table)
        for line in summary(asked, pairs):
            console.print(Text(line), soft_wrap=True)
