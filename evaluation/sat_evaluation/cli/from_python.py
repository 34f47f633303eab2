"""Studies that are started from Python: the runner behind `sat_core.study.Study.run`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sat_core.own_data import Data
from sat_core.run_folder import RunFolder
from sat_core.study import Study
from sat_evaluation.cli.live_view import Terminal
from sat_evaluation.run.executors.local import Local
from sat_evaluation.run.studies import run_study
from sat_evaluation.run.study_results import StudyResults
from sat_evaluation.run.view import Silent


def run(
    study: Study,
    out: str | Path,
    *,
    data: Data | None = None,
    backend: str | None = None,
    device: str = "cpu",
    jobs: int | None = None,
    devices: int = 1,
    reuse: Sequence[str | Path] = (),
    track: Sequence[str] = (),
    progress: bool = True,
) -> StudyResults:
    """Run a study; a `sat_core.runner.Runner`."""
    results = run_study(
        study,
        out,
        data=data,
        backend=backend,
        device=device,
        executor=Local(jobs=jobs, devices=devices, trackers=tuple(track)),
        reuse=[Path(folder) for folder in reuse],
        view=Terminal() if progress else Silent(),
    )
    return StudyResults(tuple(results), RunFolder(Path(out)))
