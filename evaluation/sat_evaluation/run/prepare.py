"""Makes a folder the one of a study or a transfer, and says which units are left to be run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs

from sat_core.arm import arm_tables, claim_arm
from sat_core.backend import Backend
from sat_core.experiment import Experiment
from sat_core.job import Job
from sat_core.ranking import Ranking, needs_ranking, ranking_job, ranking_tables
from sat_core.reuse import Finished
from sat_core.run_folder import RANKING, TRANSFER, RunFolder
from sat_core.study import Study
from sat_evaluation.run.executors.base import Unit
from sat_evaluation.run.heads import Transfer
from sat_evaluation.run.preflight import base_job, check_data, check_jobs, study_jobs
from sat_evaluation.run.view import View


def prepare_study(study: Study, folder: RunFolder, backend: Backend, reuse: Sequence[Path], view: View) -> list[Unit]:
    """Refuse what can be refused, then claim the folder for the study; returns the units that are left.

    Arguments as in `sat_evaluation.run.studies.run_study`.
    """
    jobs, sizes = study_jobs(study, folder, backend, view)
    ranking = base_job(study, folder, jobs[0])
    tables = study.to_tables()
    tables.pop(TRANSFER, None)  # with one target more it is still the same study
    experiment = jobs[0].experiment(tables)
    folder.claim(experiment)
    _check_finished(jobs, experiment)
    if folder.ranking.has_ranking:
        of_ranking = attrs.evolve(experiment, tables=ranking_tables(ranking_job(ranking)))
        Ranking.read(folder.ranking, of_ranking.fingerprint())
    longest = sorted(zip(jobs, sizes, strict=True), key=lambda pair: -pair[1])  # first, so that none is left at the end
    left = [job for job, _ in longest if not job.folder.has_results]
    if left and reuse:
        left = _not_taken(left, ranking, Finished(reuse, besides=folder.path))
    units = [Unit(job.folder.name, job.spec.training.threads, needs_ranking(job.spec)) for job in left]
    if any(unit.after_ranking for unit in units) and not folder.ranking.has_ranking:
        units.insert(0, Unit(RANKING, study.base.training.threads))
    return units


def prepare_transfer(
    transfer: Transfer, folder: RunFolder, backend: Backend, reuse: Sequence[Path], view: View
) -> list[Unit]:
    """`prepare_study` for the heads on finished runs."""
    transfer.check_folder(folder)
    data = transfer.data()
    names = transfer.sources()
    jobs = [transfer.job(name, data, backend=backend, folder=folder.unit(name)) for name in names]
    check_jobs(jobs, view, transfer.target)
    check_data(folder, data, view)
    jobs[0].probe()
    experiment = jobs[0].experiment(transfer.tables(folder))
    folder.claim(experiment)
    for job in jobs:
        if job.folder.exists:
            claim_arm(job)  # a source that has changed is none of a finished head
    _check_finished(jobs, experiment)
    left = [job for job in jobs if not job.folder.has_results]
    if left and reuse:
        finished = Finished(reuse, besides=folder.path)
        left = [job for job in left if not finished.take_arm(job, Ranking())]
    return [Unit(job.folder.name, job.spec.training.threads) for job in left]


def _check_finished(jobs: Sequence[Job], experiment: Experiment) -> None:
    """DataError for the first ``results.json`` that is not of its arm, or not whole.

    experiment: of the whole run; its data need not be read again for each arm.
    """
    for job in jobs:
        if job.folder.has_results:
            of_arm = attrs.evolve(experiment, tables=arm_tables(job))
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
        order = ranking if needs_ranking(job.spec) else Ranking(order=job.published_order())
        if order is None or not finished.take_arm(job, order):
            left.append(job)
    return left
