"""The example with a tracker, read back from what MLflow keeps."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest

from sat_core.backend import Backend

pytestmark = pytest.mark.interop

EXAMPLES = Path(__file__).parents[2] / "examples"
ONE_ARM = {
    "subset.size": 0.1,
    "subset.strategy": "random",
    "training.epochs": 2,
    "evaluation.selection_share": 20,
    "evaluation.selection_attacks": ["apgd-ce"],
    "evaluation.attacks": ["apgd-ce"],
    "evaluation.examples": 10,
}


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
def test_mlflow_has_the_arm_of_the_example(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    for name in [name for name in os.environ if name.startswith("MLFLOW")]:
        monkeypatch.delenv(name)
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(os.path.abspath(path) for path in paths if path))  # of workers
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.chdir(tmp_path)
    (arm,) = importlib.import_module("track").main("mlflow", "tracked", **ONE_ARM)
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("tracked").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["subset.size"] == "0.1"
    assert run.data.metrics["summary/robust_accuracy"] == pytest.approx(arm.robust_accuracy.value)
    assert "|A| = 143: robust " in capsys.readouterr().out
