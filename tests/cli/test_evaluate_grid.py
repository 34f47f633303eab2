"""`sat evaluate --grid`: several threat models side by side, of a checkpoint and of the arms of a study."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sat_command import here, refused

from sat_core.arm_results import ArmResults
from sat_core.evaluation import ROBUST, Evaluation
from sat_core.files import read_npz
from sat_core.threat_grid import ThreatGrid
from sat_core.threat_matrix import ThreatMatrix, ThreatSummary, name_of_left
from sat_core.unit_folder import UnitFolder
from sat_evaluation.attack.runner import load
from sat_evaluation.cli.measured_table import print_measured
from sat_evaluation.run.measures import Measured

pytestmark = pytest.mark.backend

GRID = "L2:1.0,0.25 Linf:0.05 L1:1.5"


def test_a_checkpoint_at_several_threats(finished: Path, study: Path, tmp_path: Path) -> None:
    checkpoint = finished / "arms/size-0.5/checkpoint-best"
    arguments = ["evaluate", checkpoint, "--data", f"npz:{study.parent / 'five.npz'}", "--attacks", "apgd-ce"]
    arguments += ["--examples", 20, "--out", tmp_path / "out"]
    done = here(*arguments, "--grid", GRID)
    assert done.returncode == 0, done.stderr
    shown = " ".join(done.stdout.split())
    assert all(words in shown for words in ("L2 ε = 0.25", "L2 ε = 1.0", "L1 ε = 1.5", "every one"))
    (path,) = (tmp_path / "out").glob("*-grid-*.json")
    summary = ThreatSummary.from_json(json.loads(path.read_text()))
    assert summary.grid == "L2:0.25,1.0 Linf:0.05 L1:1.5"
    arrays = read_npz(path.with_suffix(".npz"), "broken_by", "eps")
    assert [(arrays["broken_by"][place] == -1).mean() for place in range(4)] == [
        each.robust.all.value for each in summary.threats
    ]
    assert (arrays["broken_by"] == -1).all(0).mean() == summary.every.all.value
    # The first radius of a norm is the very evaluation that --eps makes, which is read now.
    kept = {file: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    assert here(*arguments, "--norm", "L2", "--eps", "0.25").returncode == 0
    assert {file: file.read_bytes() for file in kept} == kept
    assert len(list((tmp_path / "out").glob("*.npz"))) == len([file for file in kept if file.suffix == ".npz"])


@pytest.mark.torch  # what is kept is nothing of a framework's
def test_the_arms_of_a_study_keep_theirs(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    before = {arm: (arm / "results.json").read_bytes() for arm in (run / "arms").iterdir()}
    command = ["evaluate", run, "--grid", "L2:0.5,0.75 Linf:0.03", "--level", "screening", "--arms", "size-0.[05]"]
    done = here(*command)
    assert done.returncode == 0, done.stderr
    assert "size-0.5" in done.stdout
    assert {arm: (arm / "results.json").read_bytes() for arm in before} == before
    folder = UnitFolder(run / "arms/size-0.5")
    summary = ThreatSummary.from_json(json.loads(folder.measured_file("grid").read_text()))
    results = ArmResults.from_json(json.loads(folder.results_file.read_text()))
    assert summary.experiment == results.experiment
    assert summary.clean == results.clean
    assert not UnitFolder(run / "arms/size-1.0").measured_file("grid").exists()
    # Of the image that the larger radius broke only, its own file says so.
    flags = read_npz(folder.evaluation_file("grid"), "broken_by")["broken_by"]
    left = np.flatnonzero(flags[0] == -1)
    path = folder.evaluation_file(f"threat-L2-0.75-screening-{name_of_left(left, 20)}")
    if len(left) not in (0, 20):
        assert np.array_equal(load(path).broken_by, flags[1][left])
    # Broken off before the end, the same command attacks only what is missing.
    kept = folder.measured_file("grid").read_bytes(), folder.evaluation_file("grid").read_bytes()
    times = {file: file.stat().st_mtime_ns for file in folder.evaluation_file("grid").parent.glob("threat-L2*")}
    folder.measured_file("grid").unlink()
    next(folder.evaluation_file("grid").parent.glob("threat-Linf*")).unlink()
    assert here(*command[:-2], "--arms", "size-0.5").returncode == 0
    assert (folder.measured_file("grid").read_bytes(), folder.evaluation_file("grid").read_bytes()) == kept
    assert {file: file.stat().st_mtime_ns for file in times} == times


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--grid", "L3:0.5"], "--grid: unknown norm 'L3'"),
        (["--grid", ""], "--grid: expected norms with radii, as"),
        (["--grid", "L2:0.5", "--eps", "0.5"], "--grid: has norms and radii of its own"),
        (["--grid", "L2:8"], "--grid: expected less than 8, the L2 diameter of 8 x 8 x 1 images"),
        (["--grid", "L2:0.5 L1:1", "--engine", "fast"], "expected L2 or Linf with the engine 'fast', got 'L1'"),
        (["--grid", "L2:0.5", "--attacks", "standrad"], "--attacks: expected one of"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_no_grid(
    finished: Path, study: Path, tmp_path: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, data = finished / "arms/size-0.5/checkpoint-best", f"npz:{study.parent / 'five.npz'}"
    refused(capsys, ["evaluate", checkpoint, "--data", data, "--out", tmp_path / "out", *arguments], says)
    refused(capsys, ["evaluate", finished, "--grid", ""], "--grid: expected norms with radii")


def test_a_folder_that_is_no_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, ["evaluate", tmp_path / "none", "--calibration"], "none is not the folder of a study")


def test_a_wide_table_becomes_a_long_one(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    grid = ThreatGrid.parse("L2:0.25,0.5 Linf:0.05")
    evaluations = [
        Evaluation(
            label=np.zeros(4, np.int64),
            broken_by=np.array([ROBUST, ROBUST, ROBUST, broken]),
            attacks=(),
            norm=threat.norm,
            eps=threat.eps,
            package="none",
        )
        for threat, broken in zip(grid.threats, (ROBUST, 0, 0), strict=True)
    ]
    measured = Measured(grid=ThreatMatrix(grid=grid, evaluations=tuple(evaluations)))
    for width, last in (("80", "b every one 75.0 [30.1, 95.4] 4"), ("120", "75.0 [30.1, 95.4] 4")):
        monkeypatch.setenv("COLUMNS", width)
        print_measured({"a": measured, "b": measured}, Path("out"))
        *lines, _, results = capsys.readouterr().out.splitlines()
        assert results == "results: out"
        assert " ".join(lines[-1].split()).endswith(last)
        assert max(map(len, lines)) <= int(width)
        assert len(lines) == (4 + 2 * 5 if width == "80" else 4 + 2)
