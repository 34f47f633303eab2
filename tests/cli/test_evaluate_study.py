"""`sat evaluate STUDY`: finished arms at another level, without training."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from sat_command import here, refused

from sat_core.autoattack import ENGINES, LEVELS
from sat_core.files import read_npz
from sat_evaluation.cli import parser

pytestmark = pytest.mark.backend


@pytest.mark.torch  # levels are the core's
def test_a_study_is_screened_after_it_was_run(finished: Path, tmp_path: Path) -> None:
    """The arms have a list of attacks; one of them is screened later, and its results have both."""
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    arm = run / "arms/size-1.0"
    kept = {path: path.read_bytes() for path in run.rglob("*") if path.suffix in (".safetensors", ".npz")}
    before = json.loads((arm / "results.json").read_text())
    done = here("evaluate", run, "--level", "screening", "--arms", "size-1*")
    assert done.returncode == 0, done.stderr
    assert "screening" in done.stdout
    results = json.loads((arm / "results.json").read_text())
    assert [a["restarts"] for a in results["attacks"]["breakdown"]] == [1, 1]
    assert results["attacks"]["level"] == "screening"
    assert results["clean_accuracy"] == before["clean_accuracy"]
    assert [(each["robust_accuracy"], each["attacks"]) for each in results["levels"]] == [
        (before["robust_accuracy"], before["attacks"])
    ]
    flags = read_npz(arm / "evaluation/report-screening.npz", "broken_by", "label")
    assert float((flags["broken_by"] == -1).mean()) == results["robust_accuracy"]["all"]["value"]
    assert kept == {path: path.read_bytes() for path in kept}
    with (run / "summary.csv").open() as file:
        levels = {line["arm"]: line["level"] for line in csv.DictReader(file)}
    assert levels == {"size-0.0": "apgd-ce", "size-0.5": "apgd-ce", "size-1.0": "apgd-ce"}
    assert "robust (screening)" in here("status", run).stdout
    # all are there already: nothing is attacked
    written = (arm / "results.json").read_bytes()
    assert here("evaluate", run, "--level", "screening", "--arms", "size-1.0").returncode == 0
    assert (arm / "results.json").read_bytes() == written


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--arms", "size-0.6"], "--arms: no arm is called 'size-0.6'"),
        (["--eps", "0.5"], "--eps: for a checkpoint only; a study is evaluated with its settings"),
        (["--batch-size", "3"], "--batch-size: for a checkpoint only"),
        (["--attacks", "apgd-ce"], "--attacks: for a checkpoint only"),
        (["--data", "digits"], "--data: for a checkpoint only"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_a_study_has_of_its_own(
    finished: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(capsys, ["evaluate", finished, *arguments], says)


def test_a_study_that_is_not_finished(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run/arms/size-0.5/results.json").unlink()
    refused(capsys, ["evaluate", tmp_path / "run"], "1 of 3 arms are not finished (size-0.5)")


def test_a_checkpoint_has_data_and_no_arms(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best = finished / "arms/size-0.5/checkpoint-best"
    refused(capsys, ["evaluate", best], "--data: expected the data set on which the checkpoint is attacked, got none")
    refused(capsys, ["evaluate", best, "--data", "digits", "--arms", "arm"], "--arms: for the folder of a study only")
    both = ["--level", "plus", "--attacks", "apgd-ce"]
    refused(capsys, ["evaluate", best, "--data", "digits", *both], "--attacks: stands in place of --level")


def test_the_command_knows_the_levels_and_engines_of_the_core() -> None:
    """It writes them itself: `sat --help` imports no numpy."""
    (commands,) = (action for action in parser()._actions if action.choices and "evaluate" in action.choices)
    options = {action.dest: action for action in commands.choices["evaluate"]._actions}  # type: ignore[index, call-overload, union-attr]
    assert tuple(options["level"].choices or ()) == tuple(LEVELS)
    assert tuple(options["engine"].choices or ()) == ENGINES
