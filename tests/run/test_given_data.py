"""Studies that are given their data as an object: workers, levels of evaluation and reports find them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toys import digits

from sat_core import Study, make_dataset
from sat_core.backend import Backend
from sat_core.errors import DataError, RunDirectoryError
from sat_evaluation.cli import main

pytestmark = pytest.mark.torch  # nothing here is a backend's own, and PyTorch's workers start quickly

SETTINGS: dict[str, Any] = {
    "data": {"name": "saved:pets"},
    "model": {"name": "small-cnn"},
    "training": {"epochs": 1, "batch_size": 32},
    "attack": {"norm": "L2", "eps": 0.3, "steps": 1},
    "evaluation": {"selection_attacks": ["apgd-ce"], "attacks": ["apgd-ce"], "examples": 6},
}


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    return dict(np.load(digits(tmp_path_factory.mktemp("data") / "digits.npz")))


def parts(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Training, test and validation examples, the former as a map-style data set."""
    train = list(zip(arrays["x_train"], arrays["y_train"], strict=True))
    x, y = arrays["x_test"], arrays["y_test"]
    return {"train": train, "test": (x[:40], y[:40]), "validation": (x[40:], y[40:])}


def test_a_study_on_data_of_this_process(
    arrays: dict[str, np.ndarray], backend: Backend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = Study(settings=SETTINGS, grids={"subset.size": [0.25]})
    options: dict[str, Any] = {"backend": backend.name, "progress": False}
    with pytest.raises(DataError, match="saved:pets: expected the folder of a run with data"):
        study.run(tmp_path / "run", **options)
    assert not (tmp_path / "run" / "spec.toml").exists()
    data = make_dataset(**parts(arrays), name="pets")
    first = study.run(tmp_path / "run", data=data, **options)
    assert data.validation is not None
    # Without them, or with the same, and where the folder has been moved; nothing is left to be done.
    shutil.move(tmp_path / "run", tmp_path / "moved")
    for again in ({}, {"data": parts(arrays)}):
        assert list(study.run(tmp_path / "moved", **again, **options)) == list(first)
    other = parts({**arrays, "x_train": arrays["x_train"][::-1]})
    with pytest.raises(RunDirectoryError, match="images or labels of saved:pets are others than when the run began"):
        study.run(tmp_path / "moved", data=other, **options)
    # A worker that starts anew finds them there, and makes the same bytes.
    arm = next((tmp_path / "moved" / "arms").glob("*"))
    best = (arm / "checkpoint-best.safetensors").read_bytes()
    shutil.rmtree(arm)
    study.run(tmp_path / "moved", **options)
    assert (arm / "checkpoint-best.safetensors").read_bytes() == best
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "moved"), "--level", "screening", "--arms", "size-0.25"]) == 0
    assert main(["report", str(tmp_path / "moved"), "--out", str(tmp_path / "report.html")]) == 0
    assert "no images of the ranking" not in (tmp_path / "report.html").read_text()
    assert main(["data", "info", f"saved:{tmp_path / 'moved'}"]) == 0
    assert "160 training + 20 validation + 40 test" in capsys.readouterr().out
