"""How far the units of a run are, from its folder and Slurm's queue. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import final

import attrs

from sat_core.errors import DataError, NotInstalledError, RunDirectoryError, SatError, SpecError
from sat_core.plugins import not_loaded
from sat_core.ranking import needs_ranking
from sat_core.report_arms import matching
from sat_core.run_folder import RANKING, TRANSFER, RunFolder
from sat_core.study import Study
from sat_core.unit_folder import UnitFolder
from sat_evaluation.results.rows import Row, collect
from sat_evaluation.run.executors import queue
from sat_evaluation.run.executors.base import Place
from sat_evaluation.run.heads import Transfer
from sat_evaluation.run.progress import Progress
from sat_evaluation.run.progress import read as read_progress

STATES = ("failed", "unreadable", "running", "queued", "unknown", "stopped", "waiting")
"""States of units that are not finished, in the order in which they are counted."""


@final
@attrs.frozen(kw_only=True)
class UnitStatus:
    """How far one unit is.

    Attributes:
        name: Of the unit.
        state: ``finished``, or one of `STATES`.
        text: Its result, its place in the queue, or why it failed.
        progress: Of a running unit.
        log: The last lines of a failed one.
    """

    name: str
    state: str
    text: str = ""
    progress: Progress | None = None
    log: tuple[str, ...] = ()


def statuses(folder: RunFolder, units: Sequence[str] | None = None) -> Iterator[UnitStatus]:
    """Yield how far units are.

    Args:
        folder: Of a study or a transfer.
        units: Their names; by default all, the ranking first.
    """
    names = unit_names(folder) if units is None else units
    submissions = queue.submissions(folder)
    try:
        places = queue.places(submissions)
    # a folder can be looked at where there is no Slurm
    except NotInstalledError:
        places = None
    submitted = {unit for each in submissions for unit in each.units} if places is None else set()
    for name in names:
        yield _status(folder.unit(name), name, (places or {}).get(name), name in submitted)


def unit_names(folder: RunFolder) -> list[str]:
    """Return the names of the units of a study or transfer in their order, the ranking first if there is one.

    Of a study whose plug-ins are not loaded, which this does not do, those that have begun.
    """
    tables, _ = folder.read_spec()
    begun = [unit.name for unit in folder.arms]
    if TRANSFER in tables:
        source = RunFolder(Transfer.read(folder).source)
        try:
            tables = source.read_spec()[0]
            return begun if not_loaded(tables) else [arm.name for arm in Study.from_tables(tables).arms]
        except SatError:  # the head on a single arm, or a source that is not there any more
            return begun
    if not_loaded(tables):
        return [*([RANKING] if folder.ranking.exists else []), *begun]
    try:
        study = Study.from_tables(tables)
    except SpecError as error:
        problem = f"{folder.spec_file}: {str(error).splitlines()[0]}"
        raise DataError(f"{problem}\nif a newer version of sat-core wrote it, use that one") from error
    ranked = any(needs_ranking(arm.spec) for arm in study.arms)
    return [*([RANKING] if ranked else []), *(arm.name for arm in study.arms)]


def finished_rows(folder: RunFolder, arms: Sequence[str] = ()) -> tuple[list[Row], list[str]]:
    """Return the finished arms of a study or transfer as rows, and the names of the others.

    Args:
        folder: Of the study or the transfer.
        arms: Names or patterns; by default all arms.

    Raises:
        SpecError: No arm matches a pattern.
        RunDirectoryError: `folder` is none of a study or transfer, or no arm is finished.
        DataError: The results of an arm are damaged.
    """
    names = [name for name in unit_names(folder) if name != RANKING]
    names = matching(names, arms, "--arms") if arms else names
    finished = [name for name in names if folder.unit(name).has_results]
    if not finished:
        raise RunDirectoryError(f"{folder}: none of {len(names)} arms is finished; run the study first")
    rows = collect(folder.unit(name).own_results() for name in finished)
    return rows, [name for name in names if name not in {*finished}]


def _status(unit: UnitFolder, name: str, place: Place | None, unknown: bool) -> UnitStatus:
    """unknown: whether it was submitted, and Slurm does not answer."""
    runs = not unit.is_finished and (unit.is_locked() or (place is not None and place.running))
    if unit.is_finished:  # after the lock: it may have finished between the two
        return _finished(unit, name)
    progress = read_progress(unit.progress_file)
    where = place.where if place else ""
    if runs:
        return UnitStatus(name=name, state="running", text=where or "starting", progress=progress)
    if place is not None:
        return UnitStatus(name=name, state="queued", text=where)
    if unknown:
        return UnitStatus(name=name, state="unknown", text="Slurm does not answer")
    reason = unit.failure()
    if reason:
        # the reason is usually the last line of the log
        log = tuple(line for line in unit.log_end() if line.strip() not in reason)
        return UnitStatus(name=name, state="failed", text=reason, log=log)
    if progress is not None:
        return UnitStatus(name=name, state="stopped", text=f"{progress.stage}; the same command goes on")
    return UnitStatus(name=name, state="waiting")


def _finished(unit: UnitFolder, name: str) -> UnitStatus:
    if name == RANKING:
        return UnitStatus(name=name, state="finished")
    try:
        results = unit.own_results()
    except DataError:
        text = f"{unit.results_file.name}: not the results of a finished arm; delete it and run the study again"
        return UnitStatus(name=name, state="unreadable", text=text)
    text = f"robust ({results.level}) {results.robust_accuracy}, clean {100 * results.clean_accuracy.value:.1f} %"
    if results.epochs < results.spec["training"]["epochs"]:
        text += f", ended after epoch {results.epochs}"
    return UnitStatus(name=name, state="finished", text=text)
