"""G22: what looks at all of ten thousand arms, as whole processes: seconds by the clock, and peak memory."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest
from measure import cost, record

from sat_core import Study
from sat_core.run_folder import RunFolder

PREPARE = """
import sys
from sat_core import Study, get_backend
from sat_core.run_folder import RunFolder
from sat_evaluation.run.prepare import prepare_study
from sat_evaluation.run.view import Silent
study = Study.load(sys.argv[1])
units = prepare_study(study, RunFolder(sys.argv[2]), get_backend("torch"), [], Silent())
assert len(units) == len(study.arms) + 1
"""
"""What `sat run` does before the first unit starts, or the first job is submitted. Slurm's own part is not in it."""


@pytest.mark.parametrize("name", ["dry-run", "prepare", "status", "report"])
@pytest.mark.benchmark(timer=time.perf_counter)
def test_cost(benchmark: Any, ten_thousand: Path, tmp_path: Path, name: str) -> None:
    """In memory a good half of the first two is PyTorch, whose networks they look at."""
    file, sat = tmp_path / "study.toml", [sys.executable, "-m", "sat_evaluation.cli"]
    file.write_text(Study.from_tables(RunFolder(ten_thousand).read_spec()[0]).dumps())
    costs: list[tuple[float, float]] = []

    def run() -> None:
        out = str(tmp_path / str(len(costs)))
        commands = {
            "dry-run": [*sat, "run", str(file), "--out", out, "--dry-run"],
            "prepare": [sys.executable, "-c", PREPARE, str(file), out],
            "status": [*sat, "status", str(ten_thousand), "--all"],
            "report": [*sat, "report", str(ten_thousand)],
        }
        costs.append(cost(commands[name]))

    benchmark.pedantic(run, rounds=3)
    seconds, gibibytes = zip(*costs, strict=True)
    record(benchmark, f"{name}-10000-seconds", seconds)
    record(benchmark, f"{name}-10000-memory", gibibytes)
