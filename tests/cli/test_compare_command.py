"""`sat compare`: arms of a study, of two studies, and what is refused."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from sat_command import refused

from sat_evaluation.cli import main

pytestmark = pytest.mark.backend


def test_a_study_ends_with_its_pairs(finished: Path) -> None:
    printed = " ".join((finished / "printed.txt").read_text().split())
    assert "full AT - plain training" in printed
    assert "McNemar mid-P, Tango interval; [ ]: 95 % over test images" in printed
    assert "n = 20 images" in printed
    assert "Cochran's Q = " in printed


def test_all_pairs_of_a_study(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(finished), "--out", str(tmp_path / "pairs.csv")]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "found: Holm, which is p for 3 pairs together, is below 5 %" in printed
    assert "3 pairs" in printed
    rows = list(csv.DictReader((tmp_path / "pairs.csv").read_text().splitlines()))
    assert [(row["one_arms"], row["other_arms"], row["n_one"]) for row in rows] == [
        ("size-0.5", "size-1.0", "20"),
        ("size-0.5", "size-0.0", "20"),
        ("size-1.0", "size-0.0", "20"),
    ]
    assert main(["compare", str(finished), "--accuracy", "clean", "--out", str(tmp_path / "all.json")]) == 0
    content = json.loads((tmp_path / "all.json").read_text())
    assert content["accuracy"] == content["pairs"][0]["accuracy"] == "clean"
    assert content["overall"]["arms"] == 3


def test_two_arms(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(finished), "size-0.5", "size-1*"]) == 0
    by_name = capsys.readouterr().out
    assert "hardest 50 % -" in by_name
    assert "found: p is below 5 %" in by_name
    assert main(["compare", str(finished / "arms/size-0.5"), str(finished / "arms/size-1.0")]) == 0
    assert capsys.readouterr().out == by_name
    assert main(["compare", str(finished), str(finished / "arms/size-0.5"), "size-1.0"]) == 0
    assert capsys.readouterr().out == by_name
    assert main(["compare", str(finished), "size-0.5"]) == 0  # with all others
    assert "for 2 pairs together" in " ".join(capsys.readouterr().out.split())


def test_two_runs(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    other = shutil.copytree(finished, tmp_path / "other")
    shutil.rmtree(other / "arms/size-0.0")
    assert main(["compare", str(finished), str(other)]) == 0
    printed = capsys.readouterr()
    words = " ".join(printed.out.split())
    assert "hardest 50 % in whole" in words
    assert "full AT in other" in words
    assert "plain" not in words
    assert "1 of 3 arms are not finished and left out (size-0.0)" in printed.err


def test_what_is_refused(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, ["compare", finished, "size-7"], "no arm is called 'size-7'")
    refused(
        capsys, ["compare", finished, "size-1.0", "size-1.0"], "expected two different arms, got the same one twice"
    )
    refused(capsys, ["compare", finished, finished, finished], "folders of two arms; got 3 runs\n")
    wrong, arm = finished / "arms/WRONG", finished / "arms/size-0.5"
    for arguments in ([wrong, arm], [finished, wrong]):
        refused(capsys, ["compare", *arguments], f"sat: {wrong}: no arm is called 'WRONG'; they are size-0.0, ")
    expected = f"expected the folder of a run or the name of an arm of {finished}, got"
    refused(capsys, ["compare", finished, "/no/such"], f"sat: /no/such: {expected} nothing of that name")
    refused(capsys, ["compare", finished, tmp_path], f"sat: {tmp_path}: {expected} neither")
    refused(capsys, ["compare", arm], "or the folders of two arms; got 1 folder of an arm\n")
    refused(capsys, ["compare", tmp_path / "none"], "none: expected the folder of a study or of `sat reproduce`, found")
    refused(capsys, ["compare", tmp_path / "none", "arm"], "none: expected the folder of a study")
    refused(capsys, ["compare", finished, "--out", "x.txt"], "--out: expected a file that ends in .csv or .json")


def test_without_a_pair_it_says_so(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone = shutil.copytree(finished, tmp_path / "alone")
    for arm in ("size-0.0", "size-1.0"):
        shutil.rmtree(alone / "arms" / arm)
    assert main(["compare", str(alone)]) == 0
    assert capsys.readouterr().out.startswith("no pairs: ")


def test_an_arm_that_is_not_finished_is_not_called_wrong(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = shutil.copytree(finished, tmp_path / "part")
    (part / "arms/size-0.5/results.json").unlink()
    says = "'size-0.5' is not finished, and has nothing to compare yet"
    refused(capsys, ["compare", part, "size-0.5", "size-1.0"], f"sat: {part}: {says}")
    refused(capsys, ["compare", part / "arms/size-0.5", part / "arms/size-1.0"], says)


def test_damaged_flags_are_one_line(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = shutil.copytree(finished, tmp_path / "damaged")
    path = damaged / "arms/size-1.0/evaluation/report.npz"
    path.write_bytes(path.read_bytes()[:200])
    refused(capsys, ["compare", damaged, "size-0.5", "size-1.0"], f"{path}: ")
    assert main(["compare", str(damaged)]) == 0
    printed = capsys.readouterr().out
    (line,) = (line for line in printed.splitlines() if "is not compared, only its Wilson interval is known" in line)
    assert line.startswith("full AT")
    assert "hardest 50 %" in printed
