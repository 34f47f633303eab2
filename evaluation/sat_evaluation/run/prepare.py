"""Claims a folder for a study or a transfer, and finds the units that are left to be run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sat_core.arm import arm_tables, claim_arm
from sat_core.backend import Backend
from sat_core.data import DataSet
from sat_core.experiment import Experiment
from sat_core.job import Job
from sat_core.ranking import Ranking, needs_ranking, ranking_job, ranking_tables
from sat_core.reuse import Finished
from sat_core.run_folder import RANKING, TRANSFER, RunFolder
from sat_core.saved_data import save_data
from sat_core.study import Study
from sat_evaluation.run.executors.base import Unit
from sat_evaluation.run.expected import expected_passes
from sat_evaluation.run.heads import Transfer
from sat_evaluation.run.preflight import base_job, check_data, check_jobs, study_jobs
from sat_evaluation.run.view import View


def prepare_study(
    study: Study,
    folder: RunFolder,
    backend: Backend,
    reuse: Sequence[Path],
    view: View,
    devices: int = 1,
    data: DataSet | None = None,
) -> list[Unit]:
    """Check a study, then claim the folder for it; returns the units that are left to be run.

    Args:
        study: What is to be run.
        folder: Where.
        backend: Computes.
        reuse: Folders whose finished arms are taken over where they are the same.
        view: Gets notes and warnings.
        devices: Number of devices that train each unit together.
        data: What the study was given as an object, if it was; it is saved in the folder.

    Raises:
        SatError: Something cannot work, or the folder is that of another study.
    """
    jobs, sizes = study_jobs(study, folder, backend, view, devices, data)
    ranking = base_job(study, folder, jobs[0])
    tables = study.to_tables()
    tables.pop(TRANSFER, None)  # a study with one more target is still the same study
    experiment = jobs[0].experiment(tables, [job.spec.model.weights for job in jobs])
    folder.claim(experiment)
    if data is not None:
        save_data(folder, data)
    _check_finished(jobs, experiment)
    if folder.ranking.has_ranking:
        ranked = ranking_job(ranking)
        of_ranking = ranked.experiment(ranking_tables(ranked), like=experiment)
        # for its errors: a damaged ranking is named once, and not by each arm that needs it
        Ranking.read(folder.ranking, of_ranking.fingerprint())
    # the longest first: a long one that started last would run alone at the end
    passes = {job.folder.name: expected_passes(job, size) for job, size in zip(jobs, sizes, strict=True)}
    longest_first = sorted(jobs, key=lambda job: -passes[job.folder.name])
    left = [job for job in longest_first if not job.folder.has_results]
    if left and reuse:
        left = _not_taken(left, ranking, Finished(reuse, besides=folder.path))
    units = [Unit(job.folder.name, job.spec.training.threads, needs_ranking(job.spec)) for job in left]
    if any(unit.after_ranking for unit in units) and not folder.ranking.has_ranking:
        units.insert(0, Unit(RANKING, study.base.training.threads))
    return units


def prepare_transfer(
    transfer: Transfer, folder: RunFolder, backend: Backend, reuse: Sequence[Path], view: View, devices: int = 1
) -> list[Unit]:
    """Check a transfer, then claim the folder for it; as `prepare_study`."""
    transfer.check_plugins()
    transfer.check_folder(folder)
    data = transfer.data()
    names = transfer.sources()
    jobs = [transfer.job(name, data, backend=backend, folder=folder.unit(name)) for name in names]
    check_jobs(jobs, view, transfer.target, devices)
    check_data(folder, data, view)
    jobs[0].probe()
    experiment = jobs[0].experiment(transfer.tables(folder))
    folder.claim(experiment)
    for job in jobs:
        if job.folder.exists:
            claim_arm(job)  # a finished head is refused if its source has changed since
    _check_finished(jobs, experiment)
    left = [job for job in jobs if not job.folder.has_results]
    if left and reuse:
        finished = Finished(reuse, besides=folder.path)
        # heads have no A, so that no ranking is needed to compare them
        left = [job for job in left if not finished.take_arm(job, Ranking())]
    return [Unit(job.folder.name, job.spec.training.threads) for job in left]


def _check_finished(jobs: Sequence[Job], experiment: Experiment) -> None:
    """Raise DataError for the first ``results.json`` that is damaged or of another arm.

    experiment: of the whole run, from which those of arms are made: the data is not read again for each.
    """
    for job in jobs:
        if job.folder.has_results:
            of_arm = job.experiment(arm_tables(job), like=experiment)
            job.folder.own_results(of_arm.fingerprint())


def _not_taken(jobs: Sequence[Job], ranking_job: Job, finished: Finished) -> list[Job]:
    """Take over the ranking and those of `jobs` that are finished elsewhere; returns the others."""
    ranking = None
    if any(needs_ranking(job.spec) for job in jobs):
        folder = ranking_job.folder
        if folder.has_ranking or finished.take_ranking(ranking_job):
            ranking = Ranking.read(folder)
    left = []
    for job in jobs:
        # arms are the same only if A has the same members, which nobody knows before the ranking is there
        order = ranking if needs_ranking(job.spec) else Ranking(order=job.published_order())
        if order is None or not finished.take_arm(job, order):
            left.append(job)
    return left
