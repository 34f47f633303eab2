"""Units of a run as rows of a table on the terminal."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from sat_evaluation.results.text import duration, percent, shown
from sat_evaluation.run.progress import Progress
from sat_evaluation.run.status import STATES

_BAR = 12


def table_row(label: str, width: int, state: str, progress: Progress | None, text: str) -> Text:
    """Return the row of a unit: its name in `width` cells, then how far it is if it runs, else its state and `text`."""
    # in cells, not characters: some are two cells wide
    row = Text(f"{set_cell_size(shown(label, width), width)}  ")
    if state == "running" and progress is not None:
        filled = round(progress.share * _BAR)
        row.append(f"{set_cell_size(shown(progress.stage), 10)} ")
        row.append("━" * filled, style="cyan").append("─" * (_BAR - filled), style="dim")
        row.append(f" {percent(progress.share):>5} {time_left(progress):>11}")
        return row.append(f"  {shown(text or progress.note, 80)}", style="dim")
    row.append(f"{state:<10} ", style={"finished": "green", "failed": "red"}.get(state, "dim"))
    return row.append(text)


def row_width(labels: Sequence[str]) -> int:
    """Return the width in cells of the column of names."""
    return min(22, max((cell_len(shown(label)) for label in labels), default=0))


def log_line(line: str) -> Text:
    """Return a line of a log, which stands below the row of the unit that failed."""
    return Text(f"    {shown(line, 200)}", style="dim")


def counts(count: Mapping[str, int]) -> str:
    """Return how many units are in which state, such as ``3 of 10 finished · 1 failed``."""
    others = [f"{count[state]} {state}" for state in STATES if count.get(state)]
    return " · ".join([f"{count.get('finished', 0)} of {sum(count.values())} finished", *others])


def time_left(progress: Progress, before: str = "") -> str:
    """Return `before` and the time that is left, such as ``12 min left``; empty where there is no pace yet."""
    seconds = progress.left(time.time())
    return "" if seconds is None else f"{before}{duration(seconds)} left"
