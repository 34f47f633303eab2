"""G25: what a plan expects after a measurement of a minute, and what the study then takes."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from measure import record

from sat_core.study import Study
from sat_evaluation.plan.measure import measured_rates
from sat_evaluation.plan.sources import planning
from sat_evaluation.run.studies import run_study

EXAMPLES = Path(__file__).parents[1] / "examples"
SMOKE = {
    "subset.size": [0.0],
    "training.seed": 0,
    "training.epochs": 1,
    "evaluation.level": "screening",
    "evaluation.selection_share": 8,
    "evaluation.examples": 8,
}


@pytest.mark.benchmark(timer=time.perf_counter)
@pytest.mark.parametrize("name", ["digits", "digits-strategies"])
def test_expected_and_taken(benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The quotient of the two, or its inverse if that is larger: 1.25 is 25 % too much, or a fifth too little."""
    monkeypatch.setenv("SAT_CACHE", f"{os.devnull}/none")
    study = Study.load(EXAMPLES / f"{name}.toml")
    if benchmark.disabled:
        study = study.set(SMOKE)
    limit = 2.0 if benchmark.disabled else 45.0
    plan = planning(jobs=os.cpu_count() or 1, measured=measured_rates(study, None, "cpu", limit)).study(study)
    expected = plan.wall_seconds
    assert expected is not None
    taken: list[float] = []

    def run() -> None:
        start = time.perf_counter()
        run_study(study, tmp_path / name)
        taken.append(time.perf_counter() - start)

    benchmark.pedantic(run, rounds=1)
    ratio = taken[0] / expected
    note = f"expected {expected:.0f} s, took {taken[0]:.0f} s"
    record(benchmark, f"plan-{name}", [max(ratio, 1 / ratio)], note=note)
