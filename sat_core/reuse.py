"""Arms and rankings that another study has finished already: found by all that they depend on, and taken over."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, final

import attrs
import numpy as np

from sat_core import files
from sat_core.arm import arm_tables
from sat_core.arm_results import ArmResults
from sat_core.errors import DataError, RunDirectoryError
from sat_core.job import Job
from sat_core.ranking import Ranking, ranking_job, ranking_tables
from sat_core.unit_folder import UnitFolder, finished_units


@final
class Finished:
    """Finished rankings and arms in `folders` and all folders below.

    Two are the same if spec, backend, device, fingerprint of the data and, of a transfer, fingerprint of the source
    are, and if A has the same members. Package versions are not compared; results say theirs.
    """

    def __init__(self, folders: Iterable[Path], besides: Path) -> None:
        """besides: a folder that is left out. RunDirectoryError for a folder that does not exist."""
        self._units: dict[str, list[UnitFolder]] = {}
        for folder in folders:
            if not folder.is_dir():
                raise RunDirectoryError(f"{folder}: expected a folder with finished studies, found none")
            for unit in finished_units(folder):
                if unit.spec_file.exists() and not unit.path.resolve().is_relative_to(besides.resolve()):
                    self._units.setdefault(unit.spec_file.read_text(encoding="utf-8"), []).append(unit)

    def take_ranking(self, job: Job) -> bool:
        """Put the ranking of `job`'s arm into the job's folder, if there is one; returns whether there was."""
        job = ranking_job(job)
        same = [unit for unit in self._same(ranking_tables(job), job) if unit.has_ranking]
        if same:
            job.folder.take_ranking(same[0])
        return bool(same)

    def take_arm(self, job: Job, ranking: Ranking) -> bool:
        """Put the finished arm of `job` into the job's folder, if there is one; returns whether there was."""
        for unit in self._same(arm_tables(job), job):
            results, members = _results(unit), _table(unit.split_file).get("members")
            if results is not None and members == np.flatnonzero(ranking.split(job).members).tolist():
                break
        else:
            return False
        job.folder.take_arm(unit)
        results = attrs.evolve(
            results,
            arm=job.folder.name,
            full_name=job.full_name,
            source=job.source.summary(job.folder) if job.source else None,
            reused=os.path.relpath(unit.path, job.folder.path),
        )
        files.write_json(job.folder.results_file, results.to_json())
        return True

    def _same(self, tables: Mapping[str, Any], job: Job) -> list[UnitFolder]:
        return self._units.get(job.experiment(tables).to_toml(), []) if self._units else []


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
