"""Everything that can be refused before a study or a transfer begins. Nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import attrs

from sat_core.backend import Backend
from sat_core.data import DataSet, check_files
from sat_core.datasets import get_dataset
from sat_core.errors import SatError
from sat_core.job import Job
from sat_core.ranking import needs_ranking, ranking_job
from sat_core.run_folder import RunFolder
from sat_core.sections import ModelSpec
from sat_core.study import Study
from sat_core.transfer import named_as_transfer, transfer_keys, transfer_spec
from sat_evaluation.attack.package import find_package
from sat_evaluation.run.heads import target_data, transfer_folders
from sat_evaluation.run.view import View


def study_jobs(study: Study, folder: RunFolder, backend: Backend, view: View) -> tuple[list[Job], list[int]]:
    """Return a job and |A| for each arm, after a look at them, the ranking, models, data and transfers.

    Notes and warnings go to `view`. Raises SatError.
    """
    data = get_dataset(study.base.data.name)
    jobs = [
        Job(spec=arm.spec, full_name=arm.full, data=data, backend=backend, folder=folder.unit(arm.name))
        for arm in study.arms
    ]
    sizes = check_jobs(jobs, view)
    check_data(folder, data, view)
    models = {arm.spec.model.name for arm in study.arms}
    if any(needs_ranking(arm.spec) for arm in study.arms):
        ranking = ranking_job(base_job(study, folder, jobs[0]))
        ranking.planner(ranking.no_members())
        models.add(ranking.spec.model.name)
    for name in sorted(models):
        attrs.evolve(jobs[0], spec=attrs.evolve(jobs[0].spec, model=ModelSpec(name=name))).probe()
    for target in transfer_folders(study, folder):
        specs = [transfer_spec(arm.spec, target, study.head_settings) for arm in study.arms]
        images = target_data(jobs[0].spec, target).resized(data.image_shape)
        check_data(folder, images, view)
        heads = [attrs.evolve(job, spec=spec, data=images) for job, spec in zip(jobs, specs, strict=True)]
        check_jobs(heads, view, target)
    return jobs, sizes


def base_job(study: Study, folder: RunFolder, job: Job) -> Job:
    """Return the job of which `sat_core.ranking.ranking_job` makes that of the study's ranking."""
    return attrs.evolve(job, spec=study.base, folder=folder.ranking)


def check_data(folder: RunFolder, data: DataSet, view: View) -> None:
    """Look at the headers of all images before a run begins; notes on the data go to `view`."""
    for note in data.notes:
        view.note(note)
    if not folder.has_begun:  # a run that goes on has looked at them: its fingerprint holds
        with view.checking_images() as count:
            check_files(*data.parts, progress=count)


def check_jobs(jobs: Sequence[Job], view: View, target: str | None = None) -> list[int]:
    """Return |A| of each job. An error names the arm if there are several; warnings go to `view`.

    target: of the transfer whose heads these are.
    """
    find_package()
    sizes: list[int] = []
    warnings: list[tuple[str, str]] = []
    for job in jobs:
        name = job.folder.name
        try:
            with named_as_transfer(target) if target else nullcontext():
                sizes.append(job.check())
        except SatError as error:
            raise type(error)(f"{name}: {error}") if len(jobs) > 1 else error from None
        lines = job.warnings(sizes[-1])
        warnings += [(name, transfer_keys(line) if target else line) for line in lines]
    for line in grouped(warnings, len(jobs)):
        view.warn(line)
    return sizes


def grouped(warnings: Sequence[tuple[str, str]], number: int) -> list[str]:
    """Return one line for each text, with the arms that it is about unless these are all of a `number` of several.

    warnings: pairs of an arm and a text.
    """
    arms: dict[str, list[str]] = {}
    for arm, text in warnings:
        arms.setdefault(text, []).append(arm)
    lines = []
    for text, names in arms.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        lines.append(f"warning: {text}" if 1 < len(names) == number else f"warning: {names[0]}{more}: {text}")
    return lines
