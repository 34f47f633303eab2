"""How far the arms of a study are, told from its folder and from Slurm's queue. It reads, and writes nothing."""

from __future__ import annotations

import fcntl
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, final

import attrs
from rich.console import Console
from rich.text import Text

from sat_core import files
from sat_core.errors import DataError, NotInstalledError, SatError, SpecError
from sat_core.ranking import needs_ranking
from sat_core.rundir import SPEC, read
from sat_core.study import Study
from sat_evaluation.results.text import shown
from sat_evaluation.run.executors import queue
from sat_evaluation.run.executors.base import Place
from sat_evaluation.run.executors.processes import log_end, recorded_failure
from sat_evaluation.run.folder import ARMS, PROGRESS, RANKING, TRANSFERS, finished, run_folders, unit_directory
from sat_evaluation.run.heads import Transfer
from sat_evaluation.run.progress import Progress, counts, log_line, row_width, table_row
from sat_evaluation.run.progress import read as read_progress

if TYPE_CHECKING:
    from sat_evaluation.paper.panels import Panel


@final
@attrs.frozen(kw_only=True)
class UnitStatus:
    """One unit. state: ``finished``, or one of `sat_evaluation.run.progress.STATES`. text: its result or what is known.

    progress: of a running unit. log: the last lines of a failed one.
    """

    name: str
    state: str
    text: str = ""
    progress: Progress | None = None
    log: tuple[str, ...] = ()


def print_status(path: Path, *, all_units: bool = False, console: Console | None = None) -> None:
    """Print the state of every unit in `path`: a study with its transfers, a transfer, or a reproduction.

    Where there are more units than lines, those that run or failed, unless `all_units`. RunDirectoryError or DataError
    if the folder cannot be read.
    """
    console = console or Console()
    folders = run_folders(path)
    asked = _asked(path)
    rankings = {folder for folder, panel in asked.items() if panel.ranking}  # nobody asked for their arms
    for folder in folders:
        if len(folders) > 1:
            console.print(Text(str(folder), style="bold"))
        try:
            units = [unit for unit in statuses(folder) if folder not in rankings or unit.name == RANKING]
        except SatError as error:
            if len(folders) == 1:
                raise
            console.print(Text("; ".join(str(error).splitlines()), style="red"), soft_wrap=True)
            continue
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
            if console.is_terminal:
                console.print(line, no_wrap=True, overflow="ellipsis")
            else:
                console.print(line, soft_wrap=True)
    for folder, panel in asked.items():
        if not folder.exists():
            what = "the ranking" if panel.ranking else f"{len(panel.study.arms)} arms"
            console.print(Text(f"{folder}: {what} not begun"), soft_wrap=True)


def _asked(path: Path) -> dict[Path, Panel]:
    """The studies of a reproduction, by folder; none if `path` is something else, or what was asked cannot be read."""
    if (path / SPEC).exists():
        return {}
    from sat_evaluation.paper.reproduce import asked_studies

    try:
        return asked_studies(path)
    except SatError:
        return {}


def statuses(folder: Path, units: Sequence[str] | None = None) -> Iterator[UnitStatus]:
    """Of these units of a study or a transfer, by default of all, the ranking first."""
    names = unit_names(folder) if units is None else units
    known = queue.submissions(folder)
    try:
        there = queue.places(known)
    except NotInstalledError:
        there = None
    submitted = {unit for each in known for unit in each.units} if there is None else set()
    for name in names:
        yield _status(folder, name, (there or {}).get(name), name in submitted)


def unit_names(folder: Path) -> list[str]:
    """The ranking, if one is trained, and the arms of the study or transfer in `folder`, in their order."""
    tables, _ = read(folder)
    if TRANSFERS in tables:
        source = Transfer.read(folder).source
        here = [path.name for path in sorted((folder / ARMS).glob("*/"))]
        try:
            return [arm.name for arm in Study.from_tables(read(source)[0]).arms]
        except SatError:  # the head on a single arm, or a source that is not there any more
            return here
    try:
        study = Study.from_tables(tables)
    except SpecError as error:
        said = f"{folder / SPEC}: {str(error).splitlines()[0]}"
        raise DataError(f"{said}\nif a newer version of sat-core wrote it, use that one") from error
    ranked = any(needs_ranking(arm.spec) for arm in study.arms)
    return [*([RANKING] if ranked else []), *(arm.name for arm in study.arms)]


def _status(folder: Path, name: str, place: Place | None, unknown: bool) -> UnitStatus:
    """`unknown`: it was submitted, and Slurm does not answer."""
    directory, result = unit_directory(folder, name), finished(folder, name)
    runs = not result.exists() and (held(directory) or (place is not None and place.running))
    if result.exists():  # looked at last: it may have been finished just now
        return _finished(result, name)
    progress = read_progress(directory / PROGRESS)
    where = place.where if place else ""
    if runs:
        return UnitStatus(name=name, state="running", text=where or "starting", progress=progress)
    if place is not None:
        return UnitStatus(name=name, state="queued", text=where)
    if unknown:
        return UnitStatus(name=name, state="unknown", text="Slurm does not answer")
    reason = recorded_failure(folder, name)
    if reason:
        log = tuple(line for line in log_end(folder, name) if line.strip() not in reason)
        return UnitStatus(name=name, state="failed", text=reason, log=log)
    if progress is not None:
        return UnitStatus(name=name, state="stopped", text=f"{progress.stage}; the same command goes on")
    return UnitStatus(name=name, state="waiting")


def _finished(path: Path, name: str) -> UnitStatus:
    if name == RANKING:
        return UnitStatus(name=name, state="finished")
    try:
        content = files.read_json(path)
        if content.get("arm", name) != name:
            raise ValueError("of another arm")
        clean, robust = (content[f"{kind}_accuracy"]["all"] for kind in ("clean", "robust"))
        value, low, high = (100 * float(robust[key]) for key in ("value", "low", "high"))
        text = f"robust {value:.1f} % [{low:.1f}, {high:.1f}], clean {100 * float(clean['value']):.1f} %"
    except (DataError, AttributeError, LookupError, TypeError, ValueError):
        text = f"{path.name}: not the results of a finished arm; delete it and run the study again"
        return UnitStatus(name=name, state="unreadable", text=text)
    return UnitStatus(name=name, state="finished", text=text)


def held(directory: Path) -> bool:
    """Whether a process works in `directory` (`sat_core.files.locked`). A shared lock asks, and goes at once."""
    try:
        with (directory / ".lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _lines(unit: UnitStatus, width: int) -> Iterator[Text]:
    yield table_row(unit.name, width, unit.state, unit.progress, shown(unit.text, 200))
    for line in unit.log:
        yield log_line(line)
