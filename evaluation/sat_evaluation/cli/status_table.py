"""The state of every unit of a run, on the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

from sat_core.errors import SatError
from sat_core.run_folder import RANKING, ReproductionFolder, RunFolder, run_folders
from sat_evaluation.cli.unit_rows import counts, log_line, row_width, table_row
from sat_evaluation.paper.panels import Panel
from sat_evaluation.paper.reproduction import reproduced_studies
from sat_evaluation.results.text import shown
from sat_evaluation.run.status import UnitStatus, statuses


def print_state(path: Path, *, all_units: bool = False, console: Console | None = None) -> None:
    """Print the state of every unit in `path`: a study with its transfers, a transfer, or a reproduction.

    Args:
        path: The folder.
        all_units: Show all, where there are more units than lines; else those that run or failed.
        console: By default standard output.

    Raises:
        RunDirectoryError: The folder is none of a run, or cannot be read; or DataError.
    """
    console = console or Console()
    folders = run_folders(path)
    panels = _panels(path)
    only_ranking = {folder for folder, panel in panels.items() if panel.ranking}
    for folder in folders:
        if len(folders) > 1:
            console.print(Text(str(folder), style="bold"))
        try:
            units = [unit for unit in statuses(folder) if folder not in only_ranking or unit.name == RANKING]
        except SatError as error:
            # of several folders, a damaged one hides no other
            if len(folders) == 1:
                raise
            console.print(Text("; ".join(str(error).splitlines()), style="red"), soft_wrap=True)
            continue
        _print_units(units, all_units, console)
    for folder, panel in panels.items():
        if not folder.exists:
            what = "the ranking" if panel.ranking else f"{len(panel.study.arms)} arms"
            console.print(Text(f"{folder}: {what} not begun"), soft_wrap=True)


def _panels(path: Path) -> dict[RunFolder, Panel]:
    """The studies of a reproduction by folder; none if `path` is something else, or its settings cannot be read."""
    if RunFolder(path).has_begun:
        return {}
    try:
        return reproduced_studies(ReproductionFolder(path))
    except SatError:
        return {}


def _print_units(units: list[UnitStatus], all_units: bool, console: Console) -> None:
    chosen = units
    if not all_units and len(units) > console.height - 2:
        chosen = [unit for unit in units if unit.state in ("failed", "unreadable", "running")]
    names = [unit.name for unit in chosen]
    width = row_width(names) if console.is_terminal else max(map(len, names), default=0)
    lines = [line for unit in chosen for line in _lines(unit, width)]
    hidden = len(units) - len(chosen)
    more = f" · {hidden} not shown, --all shows them" if hidden else ""
    lines.append(Text(counts(Counter(unit.state for unit in units)) + more, style="bold"))
    for line in lines:
        # in a file or a pipe nothing is cut off
        if console.is_terminal:
            console.print(line, no_wrap=True, overflow="ellipsis")
        else:
            console.print(line, soft_wrap=True)


def _lines(unit: UnitStatus, width: int) -> Iterator[Text]:
    yield table_row(unit.name, width, unit.state, unit.progress, shown(unit.text, 200))
    for line in unit.log:
        yield log_line(line)
