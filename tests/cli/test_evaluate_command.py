"""`sat evaluate`: AutoAttack on a checkpoint."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from sat_command import here, refused, sat

pytestmark = pytest.mark.backend


def test_evaluate_a_checkpoint_for_several_radii(finished: Path, study: Path, tmp_path: Path) -> None:
    checkpoint, data = finished / "arms/size-0.5/checkpoint-best", tmp_path / ("long" * 50) / "five.npz"
    data.parent.mkdir()  # its path is too long for the name of a file
    shutil.copy(study.parent / "five.npz", data)
    arguments = [
        checkpoint,
        "--data",
        f"npz:{data}",
        "--attacks",
        "apgd-ce",
        "--examples",
        20,
        "--out",
        tmp_path / "out",
    ]
    done = sat("evaluate", *arguments, "--eps", "0.01", "1/2", "4.0")
    assert done.returncode == 0, done.stderr
    evaluations = [json.loads(path.read_text()) for path in sorted((tmp_path / "out").glob("*.json"))]
    robust = {result["eps"]: result["robust_accuracy"]["all"]["value"] for result in evaluations}
    assert sorted(robust) == [0.01, 0.5, 4.0]
    assert robust[0.01] >= robust[0.5] >= robust[4.0] < robust[0.01]
    assert len(list((tmp_path / "out").glob("*.npz"))) == 3
    assert here("evaluate", *arguments).returncode == 0  # ε of the training: read from the file of 1/2
    done = here("evaluate", *arguments, "--engine", "fast")  # beside the package's, and labelled
    assert "fast engine" in " ".join(done.stdout.split())
    engines = [json.loads(path.read_text())["engine"] for path in (tmp_path / "out").glob("*.json")]
    assert sorted(engines) == ["fast", "package", "package", "package"]
    assert len(list((tmp_path / "out").glob("*.npz"))) == 4


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--data", "digits"], "expected 5 classes and images (8, 8, 1), got 10"),
        (["--eps", "-1"], "--eps: expected a finite number >= 0"),
        (["--eps", "0.5", "8"], "--eps: expected less than 8, the L2 diameter of 8 x 8 x 1 images"),
        (["--norm", "Linf", "--eps", "8"], "--eps: expected less than 1, the Linf diameter"),
        (["--norm", "Linf"], "--norm: Linf needs --eps, as the training was with L2"),
        (["--norm", "L1"], "--norm: expected one of L2, Linf"),
        (["--attacks", "standrad"], "square (did you mean 'standard'?), got 'standrad'"),
        (["--attacks", "apgd-ce,pgd"], "--attacks: expected one of screening"),
        (["--batch-size", "0"], "--batch-size: expected an integer >= 1, got 0"),
        (["--threads", "0"], "--threads: expected an integer >= 1"),
        (["--examples", "61"], "--examples: expected 1 to 60, got 61"),
        (["--model", "nowhere:make"], "cannot import 'nowhere:make'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_evaluated(
    finished: Path, study: Path, tmp_path: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, data = finished / "arms/size-0.5/checkpoint-best", f"npz:{study.parent / 'five.npz'}"
    refused(capsys, ["evaluate", checkpoint, "--data", data, "--out", tmp_path / "out", *arguments], says)


def test_a_checkpoint_that_is_none(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"PK\x03\x04 not a checkpoint")
    command = ["evaluate", tmp_path / "a", "--data", f"npz:{study.parent / 'five.npz'}"]
    refused(capsys, command, "a.safetensors: truncated or not a safetensors file")
