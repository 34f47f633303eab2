"""Arms and rankings that another study has finished already: found by all that they depend on, and taken over."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, final

import numpy as np

from sat_core import files
from sat_core.arm import BEST, CHECKS, EXAMPLES, RESULTS, arm_tables
from sat_core.errors import DataError, RunDirectoryError
from sat_core.job import Job
from sat_core.ranking import FILE, Ranking, ranking_job, ranking_tables
from sat_core.rundir import SPEC, claim_text

_SPLIT = "split.json"


@final
class Finished:
    """Finished rankings and arms in `folders` and all folders below.

    Two are the same if spec, backend, device, fingerprint of the data and, of a transfer, fingerprint of the source
    are, and if A has the same members. Package versions are not compared; results say theirs.
    """

    def __init__(self, folders: Iterable[Path], besides: Path) -> None:
        """besides: a folder that is left out. RunDirectoryError for a folder that does not exist."""
        self._found: dict[str, list[Path]] = {}
        for folder in folders:
            if not folder.is_dir():
                raise RunDirectoryError(f"{folder}: expected a folder with finished studies, found none")
            for path in sorted((*folder.rglob(RESULTS), *folder.rglob(FILE))):
                spec = path.with_name(SPEC)
                if spec.exists() and not path.resolve().is_relative_to(besides.resolve()):
                    self._found.setdefault(spec.read_text(encoding="utf-8"), []).append(path.parent)

    def take_ranking(self, job: Job) -> bool:
        """Put the ranking of `job`'s arm into `job.directory`, if it is there; returns whether it was."""
        job = ranking_job(job)
        found = [folder for folder in self._same(ranking_tables(job), job) if (folder / FILE).exists()]
        if found:
            for name in (files.SECONDS, SPEC, FILE):
                _take(found[0] / name, job.directory / name)
        return bool(found)

    def take_arm(self, job: Job, ranking: Ranking) -> bool:
        """Put the finished arm of `job` into `job.directory`, if it is there; returns whether it was.

        Files are hard links where the disk allows it: a file of a run is replaced, never changed.
        """
        for folder in self._same(arm_tables(job), job):
            results, members = _table(folder / RESULTS), _table(folder / _SPLIT).get("members")
            if "robust_accuracy" in results and members == np.flatnonzero(ranking.split(job).members).tolist():
                break
        else:
            return False
        evaluations = sorted(path.relative_to(folder) for path in folder.glob("evaluation/*.npz"))
        for name in (_SPLIT, CHECKS, files.SECONDS, EXAMPLES, BEST, SPEC, *map(str, evaluations)):
            _take(folder / name, job.directory / name)
        results.pop("full_name", None)
        results |= {"arm": job.directory.name, "reused": os.path.relpath(folder, job.directory)}
        results |= {"full_name": job.full_name} if job.full_name else {}
        if job.source is not None:
            results["source"] = job.source.summary(job.directory)
        files.write_json(job.directory / RESULTS, results)
        return True

    def _same(self, tables: Mapping[str, Any], job: Job) -> list[Path]:
        return self._found.get(claim_text(tables, job.backend, job.data), []) if self._found else []


def _table(path: Path) -> dict[str, Any]:
    """What a JSON file says; nothing if it is not there, cut off, or no table."""
    try:
        found = files.read_json(path)
    except DataError:
        return {}
    return found if isinstance(found, dict) else {}


def _take(source: Path, target: Path) -> None:
    """Link or copy `source`, if it exists; `target` is there as a whole or as it was."""
    if not source.exists():
        return
    partial = target.with_name(f"{files.TEMPORARY}{target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        os.link(source, partial)
        os.replace(partial, target)
    except OSError:
        partial.unlink(missing_ok=True)
        files.write_bytes(target, source.read_bytes())
