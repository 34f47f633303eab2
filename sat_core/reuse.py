"""Finds arms and rankings that another study has finished already, and takes them over."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, final

import attrs
import numpy as np

from sat_core import files
from sat_core.arm import arm_tables, claim_arm
from sat_core.arm_results import ArmResults
from sat_core.errors import DataError, RunDirectoryError
from sat_core.experiment import WEIGHTS
from sat_core.job import Job
from sat_core.ranking import Ranking, ranking_job, ranking_tables
from sat_core.tables import flatten
from sat_core.unit_folder import UnitFolder, finished_units


@final
class Finished:
    """The finished rankings and arms in folders of other studies.

    Two arms are the same if they have the same settings, backend, device, data, bytes of weights and, in a transfer,
    source, and if A has the same members. Versions of packages are not compared, but every result says its own.

    Args:
        folders: They and all folders below are searched.
        besides: A folder that is left out: the study's own.

    Raises:
        RunDirectoryError: One of `folders` does not exist.
    """

    def __init__(self, folders: Iterable[Path], besides: Path) -> None:
        self._units: dict[str, list[UnitFolder]] = {}
        for folder in folders:
            if not folder.is_dir():
                raise RunDirectoryError(f"{folder}: expected a folder with finished studies, found none")
            for unit in finished_units(folder):
                if unit.spec_file.exists() and not unit.path.resolve().is_relative_to(besides.resolve()):
                    key = _without_path(unit.spec_file.read_text(encoding="utf-8"))
                    self._units.setdefault(key, []).append(unit)

    def take_ranking(self, job: Job) -> bool:
        """Copy the ranking of the job's arm into the job's folder; returns False if no study has it."""
        job = ranking_job(job)
        same = [unit for unit in self._same(ranking_tables(job), job) if unit.has_ranking]
        if same:
            job.folder.take_ranking(same[0])
        return bool(same)

    def take_arm(self, job: Job, ranking: Ranking) -> bool:
        """Copy the finished arm of the job into the job's folder; returns False if no study has it."""
        for unit in self._same(arm_tables(job), job):
            results, members = _results(unit), _table(unit.split_file).get("members")
            # Settings do not say who is in A: a ranking file of the same name may hold another order.
            if results is not None and members == np.flatnonzero(ranking.split(job).members).tolist():
                break
        else:
            return False
        job.folder.take_arm(unit)
        claim_arm(job)  # its weights may lie elsewhere now
        results = attrs.evolve(
            results,
            arm=job.folder.name,
            full_name=job.full_name,
            source=job.source.summary(job.folder) if job.source else None,
            reused=os.path.relpath(unit.path, job.folder.path),
        )
        # Last, as in `run_arm`: its presence says that the arm is finished.
        files.write_json(job.folder.results_file, results.to_json())
        return True

    def _same(self, tables: Mapping[str, Any], job: Job) -> list[UnitFolder]:
        return self._units.get(_without_path(job.experiment(tables).to_toml()), []) if self._units else []


def _without_path(spec: str) -> str:
    """Return what is the same for equal settings, backend, device, data and weights, wherever these lie."""
    if WEIGHTS not in spec:
        return spec
    try:
        values = flatten(files.parse_toml(spec))
    except ValueError:  # cut off
        return spec
    values.pop("model.weights", None)
    return repr(sorted(values.items()))


def _results(unit: UnitFolder) -> ArmResults | None:
    """Return the results of the arm; None if it is not finished, or its file is damaged."""
    try:
        return unit.results()
    except DataError:
        return None


def _table(path: Path) -> dict[str, Any]:
    """Return what a JSON file says; nothing if it is not there, cut off, or no table."""
    try:
        content = files.read_json(path)
    except DataError:
        return {}
    return content if isinstance(content, dict) else {}
