"""`sat table`: a finished study as CSV, printed or in a file."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
from sat_command import refused

from sat_evaluation.cli import main

pytestmark = pytest.mark.backend


def test_a_study_as_tables(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for what, count in (("arms", 3), ("classes", 15), ("images", 60), ("examples", 480)):
        out = tmp_path / f"{what}.csv"
        assert main(["table", str(finished), "--what", what, "--out", str(out)]) == 0
        assert f"{what} of 3 arms" in capsys.readouterr().out
        rows = list(csv.DictReader(out.read_text().splitlines()))
        assert len(rows) == count, what
        assert [*dict.fromkeys(row["arm"] for row in rows)] == ["size-0.0", "size-0.5", "size-1.0"]
    assert sum(row["in_A"] == "True" for row in rows) == 0 + 80 + 160
    assert main(["table", str(finished), "--what", "checks", "--arms", "size-0*"]) == 0
    printed = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert {row["arm"] for row in printed} == {"size-0.0", "size-0.5"}


def test_arms_that_are_not_finished_are_left_out(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = shutil.copytree(finished, tmp_path / "part")
    (part / "arms/size-0.5/results.json").unlink()
    assert main(["table", str(part)]) == 0
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 3
    assert printed.err == "sat: 1 of 3 arms are not finished and left out (size-0.5)\n"
    for arm in ("size-0.0", "size-1.0"):
        (part / f"arms/{arm}/results.json").unlink()
    refused(capsys, ["table", part], "none of 3 arms is finished; run the study first")
    refused(capsys, ["table", part, "--arms", "other"], "--arms: no arm is called 'other'")
    refused(
        capsys, ["table", tmp_path / "none", "--out", "x.csv"], "none: expected the folder of a study (with spec.toml)"
    )
    refused(capsys, ["table", finished / "arms/size-0.5"], f"got an arm\ngive {finished}, with --arms size-0.5")
    shutil.copytree(finished, tmp_path / "all/studies/one")
    refused(capsys, ["table", tmp_path / "all"], f"got 1 of them\ngive one, as {tmp_path / 'all/studies/one'}")
    refused(capsys, ["table", finished, "--out", tmp_path / "x.txt"], "--out: expected a file that ends in .csv or")
    assert not (tmp_path / "x.txt").exists()
