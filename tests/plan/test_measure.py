"""A device that is measured, and a study that is planned, run, and keeps what was expected of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from sat_core.backend import Backend
from sat_core.files import read_json
from sat_core.run_folder import RunFolder
from sat_core.study import Study
from sat_evaluation.plan.cache import read_taken
from sat_evaluation.plan.measure import measured_rates
from sat_evaluation.plan.plan import plan_study
from sat_evaluation.plan.rates import MEASURED
from sat_evaluation.plan.sources import planning
from sat_evaluation.run import expected, studies
from sat_evaluation.run.executors.local import Local
from sat_evaluation.run.expected import expect
from sat_evaluation.run.studies import run_study

pytestmark = pytest.mark.backend

OWN = {
    "torch": """
from torch import nn

def make(classes, image_shape):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))
""",
    "tensorflow": """
import keras

def make(classes, image_shape):
    return keras.Sequential([keras.Input(image_shape), keras.layers.Flatten(), keras.layers.Dense(classes)])
""",
}
"""A network that has no entry in the table of costs."""
TABLES = {
    "data": {"name": "digits"},
    "model": {"name": "linear"},
    "training": {"epochs": 1, "batch_size": 64},
    "subset": {"size": 1.0},
    "evaluation": {"attacks": ["apgd-ce"], "selection_attacks": ["apgd-ce"], "examples": 8, "selection_share": 8},
}


@pytest.mark.torch  # what is kept is nothing of a framework's
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
    # the clock stands still but while somebody thinks about the answer
    clock = [0.0]
    monkeypatch.setattr(studies, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(expected, "ASKS_ABOVE", 0.0)

    def confirm(line: str) -> bool:
        clock[0] += 3600
        return bool(line)

    run_study(study.set({"training.seed": 2}), tmp_path / "third", tell=lines.append, confirm=confirm)
    assert lines[2].endswith(", took 0.0 s")
    # a run that goes on knows its own arms without the cache
    monkeypatch.setenv("SAT_CACHE", str(tmp_path / "empty"))
    known = expect(study, RunFolder(tmp_path / "first"), backend=None, device="cpu", executor=Local())
    assert known is not None
    assert [(each.source, each.detail[:10]) for each in known.all.rates] == [("history", "1 training")]
    assert known.left.units == ()


def test_a_measured_device_has_rates_for_the_study_and_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: Backend
) -> None:
    monkeypatch.setenv("SAT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "measured_network.py").write_text(OWN[backend.name])
    monkeypatch.syspath_prepend(tmp_path)
    named, own = Study.from_tables(TABLES), Study.from_tables(TABLES).set({"model.name": "measured_network:make"})
    for study in (named, own):
        rates = measured_rates(study, backend.name, "cpu", 2.0)
        plan = planning(backend=backend.name, measured=rates).study(study)
        assert plan.seconds is not None
        assert plan.seconds.training > 0
        assert plan.seconds.report > 0
        assert {rates.source for rates in plan.rates} == {MEASURED}
        # as a run plans, which measures nothing
        assert planning(backend=backend.name).study(study) == plan
    of_named, of_own = (planning(backend=backend.name).study(study) for study in (named, own))
    assert of_own.flops == of_named.flops
    assert of_own.memory is not None
    assert plan_study(own).flops is None
