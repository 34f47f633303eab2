"""Studies that start from weights on the command line: paths from where the user stands, moved and changed files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.numpy import save_file
from sat_command import refused

from sat_core import checkpoint
from sat_evaluation.cli import main

pytestmark = pytest.mark.backend


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.mark.torch  # where files lie is nothing of a framework's
def test_a_study_starts_from_weights_wherever_they_lie(
    finished: Path,
    study: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weights, moved, out = tmp_path / "clean.safetensors", tmp_path / "there" / "clean.safetensors", tmp_path / "tuned"
    shutil.copy(finished / "arms/size-0.0/checkpoint-best.safetensors", weights)
    short = ("--set", "training.epochs=1", "--set", "subset.size=0.5", "--set", "subset.strategy=random")
    command = ["run", study, "--out", out, *short, "--set"]
    # the workers stand elsewhere
    monkeypatch.chdir(tmp_path)
    assert run(*command, 'model.weights=["", "clean.safetensors"]') == 0
    results = {path.name: json.loads((path / "results.json").read_text()) for path in (out / "arms").iterdir()}
    assert sorted(results) == ["weights-clean", "weights-new"]
    assert results["weights-clean"]["spec"]["model"]["weights"] == str(weights)
    assert "weights" not in results["weights-new"]
    assert results["weights-clean"]["losses"][0] < results["weights-new"]["losses"][0]
    # it goes on with the same bytes at another place, and not with others
    moved.parent.mkdir()
    weights.rename(moved)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("results.json")}
    assert run(*command, 'model.weights=["", "there/clean.safetensors"]') == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("results.json")} == before
    assert str(moved) in (out / "spec.toml").read_text()
    capsys.readouterr()
    refused(capsys, [*command, 'model.weights=["", "gone.pt"]'], f"model.weights: {tmp_path}/gone.pt: no such")
    state = checkpoint.read(moved).groups["model"]
    save_file({name: value * 2 for name, value in state.items()}, moved)
    refused(capsys, [*command, 'model.weights=["", "there/clean.safetensors"]'], "are others than when the run began")


def test_the_last_layer_of_other_classes_is_new_and_said_once(
    finished: Path, target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut to four classes, the last layer is new for five."""
    state = checkpoint.read(finished / "arms/size-1.0").groups["model"]
    four = {name: value[:4] if name.startswith("fc.") else value for name, value in state.items()}
    save_file(four, tmp_path / "four.safetensors")
    (tmp_path / "s.toml").write_text(
        f'data.name = "{target}"\nmodel = {{weights = "four.safetensors", layers = "head"}}\nsubset.size = 0.0\n'
        "training = {epochs = 1, batch_size = 32}\nevaluation = {attacks = ['apgd-ce'], examples = 8}\n"
    )
    monkeypatch.chdir(tmp_path)
    assert run("run", "s.toml", "--out", "out") == 0
    line = "the last layer is new: fc.weight, fc.bias"
    captured = capsys.readouterr()
    assert (captured.out + captured.err).count(line) == 1
    assert line in json.loads(Path("out/arms/arm/results.json").read_text())["weights"]["taken"]
    after = checkpoint.read("out/arms/arm").groups["model"]
    assert all((after[name] == value).all() for name, value in state.items() if not name.startswith("fc."))
