"""Evaluates the finished arms of a study or transfer at another level, without training: `sat evaluate STUDY`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import attrs

from sat_core.arm_results import ArmResults
from sat_core.autoattack import LEVELS
from sat_core.backend import get_backend
from sat_core.datasets import load_once
from sat_core.errors import DataError, RunDirectoryError, SatError
from sat_core.follower import follow
from sat_core.job import Job
from sat_core.leader import leading
from sat_core.plugins import check_loaded
from sat_core.process_group import ALONE, ProcessGroup
from sat_core.reevaluation import evaluate_arm
from sat_core.report_arms import matching
from sat_core.run_folder import RANKING, TRANSFER, RunFolder
from sat_core.saved_data import dataset_of
from sat_core.study import Study
from sat_evaluation.attack.fast.engine import Fast
from sat_evaluation.attack.package import find_package
from sat_evaluation.attack.plan import plan
from sat_evaluation.attack.record import Record
from sat_evaluation.attack.rounds import by_rank_0
from sat_evaluation.run.executors.base import Outcome
from sat_evaluation.run.finish import finish
from sat_evaluation.run.heads import Transfer
from sat_evaluation.run.status import unit_names
from sat_evaluation.run.view import View


def evaluate_study(
    folder: RunFolder,
    level: str,
    arms: Sequence[str] = (),
    *,
    backend: str | None = None,
    device: str | None = None,
    view: View,
    group: ProcessGroup = ALONE,
    stop: Callable[[], bool] = lambda: False,
) -> list[ArmResults]:
    """Evaluate the picked epochs of arms at a level of evaluation; after an interruption, the same call continues.

    Each arm is attacked on the images that it reported, by the engine of the study; after screening, standard goes on
    with the attacks that are missing. Its results keep what they had, and those of the strongest level are the reported
    ones. Tables and plots are made anew.

    Args:
        folder: Of a study or a transfer.
        level: One of `sat_core.autoattack.LEVELS`.
        arms: Names or patterns; by default all arms.
        backend, device: What computes; by default what trained.
        view: Shows how far each arm is.
        group: The ranks that attack together; rank 0 reads and writes the folder.
        stop: Called at every query; True ends it.

    Returns:
        The results of all finished arms of the study, in their order; on other ranks than the first, none.

    Raises:
        SpecError: No arm matches a pattern, or the folder names plug-ins that this process has not imported.
        RunDirectoryError: An arm is not finished, or the data have changed.
        Interrupted: A stop was requested, or another rank has an error; what is done is saved.
    """
    names, chosen = chosen_arms(folder, arms)
    find_package()
    with ExitStack() as stack:
        by_rank_0(group, lambda: stack.enter_context(folder.locked()))
        for job in jobs_of(folder, chosen, backend, device, group):
            _evaluate(attrs.evolve(job, group=group, stop=stop), level, view)
        return finish(folder, names, Outcome()) if group.rank == 0 else []


def chosen_arms(folder: RunFolder, arms: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the names of all arms of a study, and of those that are asked for, which are finished.

    Args:
        folder: Of a study or a transfer.
        arms: Names or patterns; none for all arms.

    Raises:
        SpecError: No arm matches a pattern, or the folder names plug-ins that this process has not imported.
        RunDirectoryError: An arm is not finished.
    """
    check_plugins(folder)
    names = [name for name in unit_names(folder) if name != RANKING]
    chosen = matching(names, arms, "--arms") if arms else names
    missing = [name for name in chosen if not folder.unit(name).has_results]
    if missing:
        raise RunDirectoryError(
            f"{folder}: {len(missing)} of {len(chosen)} arms are not finished ({', '.join(missing[:3])})\n"
            "run the study to its end first, or name the arms that are finished with --arms"
        )
    return names, chosen


def check_plugins(folder: RunFolder) -> None:
    """Raise SpecError if a study, or the source of a transfer, names plug-ins that this process has not imported."""
    tables, _ = folder.read_spec()
    check_loaded(tables, folder)
    if TRANSFER in tables:
        Transfer.read(folder).check_plugins()


def _evaluate(job: Job, level: str, view: View) -> None:
    """Evaluate an arm, or, on other ranks than the first, follow."""
    if job.group.rank > 0:
        follow(job, job.no_members())
    # what rank 0 raises is told only when the others no longer follow it
    by_rank_0(job.group, lambda: _lead(job, level, view))


def _lead(job: Job, level: str, view: View) -> None:
    failure: SatError | None = None
    with leading(job.group):
        try:
            # the worker of a study that was killed may hold it until it misses its parent
            with job.folder.locked(wait=10), view.attacking(f"{job.folder.name}, {level}") as show:
                job.folder.sweep()
                if job.folder.own_results().at(level) is None:
                    go_on_from_weaker(job, level)
                evaluate_arm(attrs.evolve(job, progress=lambda _stage, share, _total, note: show(share, note)), level)
        except SatError as error:
            failure = error
    if failure is not None:
        raise failure


def go_on_from_weaker(job: Job, level: str) -> None:
    """Let the evaluation at `level` begin where that of a weaker level ended, if it begins with the same attacks."""
    spec, folder = job.spec, job.folder
    path = folder.evaluation_file(folder.report_name(level))
    if path.exists():
        return
    shape = job.data.image_shape
    planned, notes = plan(level, norm=spec.attack.norm, classes=job.data.classes, image_shape=shape)
    package = Fast() if spec.evaluation.engine == "fast" else find_package()
    for name in ("", *LEVELS):
        try:
            weaker = Record.read(folder.evaluation_file(folder.report_name(name)))
        except DataError:  # not there, or damaged: then it is attacked from the start
            continue
        longer = weaker.extended(planned, notes)
        if longer is not None and longer.settings.package == package.title:
            longer.save(path)
            return


def jobs_of(
    folder: RunFolder, names: Sequence[str], backend: str | None, device: str | None, group: ProcessGroup
) -> list[Job]:
    """Return the jobs of finished arms, or heads of a transfer, by their names."""
    tables, run = folder.read_spec()
    computing = get_backend(backend or run["backend"], device or run["device"])
    if TRANSFER in tables:
        transfer = Transfer.read(folder)
        data = load_once(transfer.data, group)
        return [transfer.job(name, data, backend=computing, folder=folder.unit(name)) for name in names]
    study = Study.from_tables(tables)
    data = load_once(lambda: dataset_of(study.base.data.name, folder), group)
    return [
        Job(spec=arm.spec, full_name=arm.full, data=data, backend=computing, folder=folder.unit(arm.name))
        for arm in study.arms
        if arm.name in names
    ]
