"""Checks before a study or a transfer begins. They write nothing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import attrs

from sat_core.backend import Backend
from sat_core.data import DataSet, check_files
from sat_core.epoch_plan import check_devices
from sat_core.errors import SatError
from sat_core.job import Job
from sat_core.ranking import needs_ranking, ranking_job
from sat_core.run_folder import RunFolder
from sat_core.saved_data import dataset_of
from sat_core.study import Study
from sat_core.transfer import named_as_transfer, transfer_keys, transfer_spec
from sat_evaluation.attack.package import find_package
from sat_evaluation.run.heads import target_data, transfer_folders
from sat_evaluation.run.view import View


def study_jobs(
    study: Study, folder: RunFolder, backend: Backend, view: View, devices: int = 1, data: DataSet | None = None
) -> tuple[list[Job], list[int]]:
    """Check a study: its arms, ranking, models, data and transfers.

    Args:
        study: What is to be run.
        folder: Where.
        backend: Computes.
        view: Gets notes and warnings.
        devices: Number of devices that train each arm together.
        data: What the study was given as an object, if it was.

    Returns:
        A job for each arm, and |A| of each.

    Raises:
        SatError: Something cannot work; the message starts with the setting.
    """
    if data is None:
        data = dataset_of(study.base.data.name, folder)
    jobs = [
        Job(spec=arm.spec, full_name=arm.full, data=data, backend=backend, folder=folder.unit(arm.name))
        for arm in study.arms
    ]
    sizes = check_jobs(jobs, view, devices=devices)
    check_data(folder, data, view)
    models = {arm.spec.model for arm in study.arms}
    if any(needs_ranking(arm.spec) for arm in study.arms):
        ranking = ranking_job(base_job(study, folder, jobs[0]))
        # only for its errors: settings of the ranking's own training that do not fit the data
        ranking.planner(ranking.no_members())
        check_devices(ranking.spec.training, ranking.spec.attack, devices)
        models.add(ranking.spec.model)
    # each network once, however many arms have it: a large one takes seconds to build
    taken = [
        attrs.evolve(jobs[0], spec=attrs.evolve(jobs[0].spec, model=model)).probe()
        for model in sorted(models, key=attrs.astuple)
    ]
    for line in dict.fromkeys(line for lines in taken for line in lines):
        view.note(line)
    # now, not when the sources have been trained, which may take days
    for target in transfer_folders(study, folder):
        specs = [transfer_spec(arm.spec, target, study.head_settings) for arm in study.arms]
        images = target_data(jobs[0].spec, target).resized(data.image_shape)
        check_data(folder, images, view)
        heads = [attrs.evolve(job, spec=spec, data=images) for job, spec in zip(jobs, specs, strict=True)]
        check_jobs(heads, view, target, devices)
    return jobs, sizes


def base_job(study: Study, folder: RunFolder, job: Job) -> Job:
    """Return the study's base as a job; `sat_core.ranking.ranking_job` turns it into that of the ranking."""
    return attrs.evolve(job, spec=study.base, folder=folder.ranking)


def check_data(folder: RunFolder, data: DataSet, view: View) -> None:
    """Check the headers of all images before a run begins; notes on the data go to `view`."""
    for note in data.notes:
        view.note(note)
    if not folder.has_begun:  # a run that continues was checked then, and the data's fingerprint is the same
        with view.checking_images() as count:
            check_files(*data.parts, progress=count)


def check_jobs(jobs: Sequence[Job], view: View, target: str | None = None, devices: int = 1) -> list[int]:
    """Check jobs against their data; returns |A| of each.

    Args:
        jobs: Of the arms of a study, or of the heads of a transfer.
        view: Gets warnings.
        target: Of the transfer, if these are its heads.
        devices: Number of devices that train each of them together.

    Raises:
        SatError: A job cannot work; names its arm if there are several.
    """
    # AutoAttack is needed last, and must not be missed only then
    find_package()
    if devices > 1:
        jobs[0].backend.check_joins()
    sizes: list[int] = []
    checked: dict[Any, int] = {}
    warnings: list[tuple[str, str]] = []
    for job in jobs:
        name = job.folder.name
        try:
            with named_as_transfer(target) if target else nullcontext():
                sizes.append(job.check(checked))
                check_devices(job.spec.training, job.spec.attack, devices, job.spec.subset)
        except SatError as error:
            raise type(error)(f"{name}: {error}") if len(jobs) > 1 else error from None
        lines = job.warnings(sizes[-1])
        warnings += [(name, transfer_keys(line) if target else line) for line in lines]
    for line in grouped(warnings, len(jobs)):
        view.warn(line)
    return sizes


def grouped(warnings: Sequence[tuple[str, str]], number: int) -> list[str]:
    """Return one line for each different warning, with the arms that it is about.

    Args:
        warnings: Pairs of an arm and a text.
        number: Of arms; a warning about all of several names none.
    """
    arms: dict[str, list[str]] = {}
    for arm, text in warnings:
        arms.setdefault(text, []).append(arm)
    lines = []
    for text, names in arms.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        lines.append(f"warning: {text}" if 1 < len(names) == number else f"warning: {names[0]}{more}: {text}")
    return lines
