"""Reproduced numbers beside the published ones, as tables on the terminal."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sat_core.run_folder import ReproductionFolder
from sat_evaluation.paper.compare import compare, records, summary
from sat_evaluation.results.conclusion_files import write_records


def print_comparison(folder: ReproductionFolder, console: Console | None = None, out: Path | None = None) -> None:
    """Print a table for each figure, and below it where the two disagree.

    Args:
        folder: Of `sat reproduce`.
        console: Where to.
        out: A .csv or .json that gets the pairs, too.
    """
    console = console or Console()
    compared = compare(folder)
    if out is not None:
        write_records(out, [record for asked, pairs in compared for record in records(asked, pairs)])
    for asked, pairs in compared:
        if not pairs:
            continue
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
        for head in ("data", "A", "accuracy"):
            table.add_column(head)
        for head in ("ours % [ ]", "published %", "difference [ ]"):
            table.add_column(head, justify="right", no_wrap=True)
        table.add_column("")
        for pair in pairs:
            ours = f"{100 * pair.ours.value:.1f} [{100 * pair.ours.low:.1f}, {100 * pair.ours.high:.1f}]"
            difference = str(pair.estimate.difference)
            cells = (pair.panel, pair.arm, pair.measure.replace("_a", " on A").replace("_b", " on B"), ours)
            table.add_row(
                *map(Text, (*cells, f"{100 * pair.published.value:.1f}", difference)), "" if pair.agree else "≠"
            )
        console.print(Text(f"{asked.figure} · scale {asked.scale} · protocol {asked.protocol}", style="bold"))
        console.print(table)
        for line in summary(asked, pairs):
            console.print(Text(line), soft_wrap=True)
