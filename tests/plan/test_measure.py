"""A device that is measured, and a study that is planned, run, and keeps what was expected of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sat_core.files import read_json
from sat_core.run_folder import RunFolder
from sat_core.study import Study
from sat_evaluation.plan.cache import read_taken
from sat_evaluation.plan.measure import measured_rates
from sat_evaluation.plan.rates import MEASURED
from sat_evaluation.plan.sources import planning
from sat_evaluation.run.studies import run_study

pytestmark = pytest.mark.backend

TABLES = {
    "data": {"name": "digits"},
    "model": {"name": "linear"},
    "training": {"epochs": 1, "batch_size": 64},
    "subset": {"size": 1.0},
    "evaluation": {"attacks": ["apgd-ce"], "selection_attacks": ["apgd-ce"], "examples": 8, "selection_share": 8},
}


def test_a_run_keeps_what_was_expected_and_tells_the_next_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAT_CACHE", str(tmp_path / "cache"))
    study = Study.from_tables(TABLES)
    lines: list[str] = []
    (first,) = run_study(study, tmp_path / "first", tell=lines.append)
    assert first.cost.expected_seconds is None
    assert "nothing was known" in lines[0]
    assert len(read_taken()[0]) == 1
    asked: list[str] = []
    (second,) = run_study(study.set({"training.seed": 1}), tmp_path / "second", tell=lines.append, confirm=asked.append)  # type: ignore[arg-type]
    plan = read_json(RunFolder(tmp_path / "second").plan_file)
    assert second.cost.expected_seconds == pytest.approx(sum(plan["units"][0]["seconds"].values()), abs=0.01)
    assert plan["rates"][0]["source"] == "history"
    assert lines[1].startswith("expected ")
    # far below a day
    assert asked == []


def test_a_measured_device_has_rates_for_the_study_and_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAT_CACHE", str(tmp_path))
    study = Study.from_tables(TABLES)
    plan = planning(measured=measured_rates(study, None, "cpu", 2.0)).study(study)
    assert plan.seconds is not None
    assert plan.seconds.training > 0
    assert plan.seconds.report > 0
    assert {rates.source for rates in plan.rates} == {MEASURED}
    # as a run plans, which measures nothing
    assert planning().study(study) == plan
