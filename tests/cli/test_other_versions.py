"""Folders that another version of sat-core wrote, or that hold another study."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from sat_command import refused

from sat_evaluation.cli import main

pytestmark = pytest.mark.backend


def older(results: dict[str, Any]) -> dict[str, Any]:
    """Results as an older version might have written them."""
    spec = {**results["spec"], "training": {**results["spec"]["training"]}}
    del spec["training"]["deterministic"]
    attacks = {key: value for key, value in results["attacks"].items() if key != "precision"}
    return results | {"spec": spec, "attacks": attacks}


def newer(results: dict[str, Any]) -> dict[str, Any]:
    """Results as a newer version might write them."""
    more = {key: {**results[key], "novel": {"x": 1}} for key in ("cost", "attacks", "split", "robust_accuracy")}
    spec = {**results["spec"], "training": {**results["spec"]["training"], "novel": 3}}
    return results | more | {"spec": spec, "novel": []}


@pytest.mark.parametrize("change", [older, newer])
def test_results_of_another_version_are_read(
    finished: Path, study: Path, tmp_path: Path, change: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(finished, tmp_path / "out")
    path = out / "arms/size-0.5/results.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    assert main(["status", str(out)]) == 0
    assert "4 of 4 finished" in capsys.readouterr().out
    assert main(["run", str(study), "--out", str(out)]) == 0
    assert (out / "summary.csv").read_text().splitlines()[2].startswith("size-0.5,")


@pytest.mark.parametrize("content", ["", '{"arm": "size-0.5", "spec": {', "[]", "3", "{}", '{"arm": "size-0.5"}'])
def test_results_that_are_none_are_refused_before_anything_is_trained(
    finished: Path, study: Path, tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(finished, tmp_path / "out")
    (out / "arms/size-1.0/results.json").unlink()
    path = out / "arms/size-0.5/results.json"
    path.write_text(content)
    refused(capsys, ["run", study, "--out", out], f"{path}: expected the results of a finished arm (")
    assert not (out / "arms/size-1.0/results.json").exists()
    assert main(["status", str(out)]) == 0
    assert "size-0.5  unreadable results.json: not the results of a finished arm" in capsys.readouterr().out


def test_what_else_another_version_may_have_written_is_refused_in_a_clear_line(
    finished: Path, study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(finished, tmp_path / "out")
    spec = out / "spec.toml"
    spec.write_text(spec.read_text().replace("[training]", "[training]\nnovel = 3"))
    refused(capsys, ["run", study, "--out", out], "training.novel is 3 there and 'not set' here")
    refused(capsys, ["status", out], f"{spec}: unknown key 'training.novel'")
    shutil.copy(finished / "spec.toml", spec)
    ranking = out / "ranking/ranking.npz"
    ranking.write_bytes(ranking.read_bytes()[:300])
    refused(capsys, ["run", study, "--out", out], f"{ranking}: expected an .npz file")


def test_another_study_in_the_same_folder_is_refused(
    finished: Path, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", study, "--out", finished, "--set", "training.epochs=5"]
    refused(capsys, command, "training.epochs is 4 there and 5 here")
