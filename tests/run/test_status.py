"""`sat status`: what a folder tells of the arms in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from folders import ARMS, SPEC, put, results, states

from sat_core import files
from sat_core.run_folder import RunFolder
from sat_core.unit_folder import UnitFolder
from sat_evaluation.cli import main
from sat_evaluation.run.executors.processes import record_end
from sat_evaluation.run.progress import ProgressFile


def test_the_folder_tells_the_state_of_every_unit(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert states(out) == dict.fromkeys(("ranking", *ARMS), "waiting")
    put(out / "ranking" / "ranking.npz", "")
    put(out / "arms" / "size-0.0" / "results.json", results("size-0.0"))
    ProgressFile(out / "arms" / "size-0.5" / "progress.json")("training", 1, 2)
    put(out / "arms" / "size-1.0" / "log.txt", "# started now on here\nTraceback:\n  line 3\nValueError: no\nno\n")
    record_end(RunFolder(out).unit("size-1.0"), 1)
    before = sorted(out.rglob("*"))
    assert states(out) == {"ranking": "finished", "size-0.0": "finished", "size-0.5": "stopped", "size-1.0": "failed"}
    with files.locked(out / "arms" / "size-0.5"):
        assert states(out)["size-0.5"] == "running"
        assert main(["status", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "robust (standard) 81.5 % [75.5, 86.3], clean 98.0 %" in printed
    assert "training   ━━━━━━──────  50 %" in printed
    assert "failed     no\n    Traceback:\n" not in printed  # three lines are the last ones
    assert "failed     no\n      line 3\n    ValueError: no\n" in printed
    assert printed.splitlines()[-1] == "2 of 4 finished · 1 failed · 1 running"
    assert sorted(path for path in out.rglob("*") if path.name != ".lock") == before


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"robust_accuracy": null}',
        '{"robust_accuracy": {"all": 3}}',
        results("size-0.0"),
    ],
)
def test_results_that_are_none_are_named(out: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    put(out / "arms" / "size-0.5" / "results.json", content)
    assert states(out)["size-0.5"] == "unreadable"
    main(["status", str(out)])
    assert "size-0.5  unreadable results.json: not the results of a finished arm" in capsys.readouterr().out


def test_an_arm_that_ended_early_says_so(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arm, epochs in (("size-0.0", 0), ("size-0.5", 2)):
        content = json.loads(results(arm))
        content["epochs"] = content["spec"]["training"]["epochs"] - epochs
        put(out / "arms" / arm / "results.json", json.dumps(content))
    main(["status", str(out)])
    printed = capsys.readouterr().out
    assert printed.count("ended after epoch") == 1
    assert f"clean 98.0 %, ended after epoch {content['epochs']}" in printed


def test_a_lock_is_asked_for_without_being_taken(tmp_path: Path) -> None:
    assert not UnitFolder(tmp_path).is_locked()
    assert list(tmp_path.iterdir()) == []
    with files.locked(tmp_path):
        assert UnitFolder(tmp_path).is_locked()
    assert not UnitFolder(tmp_path).is_locked()
    with files.locked(tmp_path):
        pass


def test_more_arms_than_lines_shows_those_that_matter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "many"
    put(out / "spec.toml", SPEC.replace("[0.0, 0.5, 1.0]", str([i / 100 for i in range(100)])))
    for i in range(50):
        put(out / f"arms/size-{i / 100}/results.json", results(f"size-{i / 100}"))
    RunFolder(out).unit("size-0.7").record_failure("no data")
    main(["status", str(out)])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["size-0.7", "50"]
    main(["status", str(out), "--all"])
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 102
    assert printed[-1] == "50 of 101 finished · 1 failed · 50 waiting"


def test_a_folder_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(tmp_path)]) == 2
    assert "expected the folder of a study" in capsys.readouterr().err
    put(tmp_path / "spec.toml", "not TOML")
    assert main(["status", str(tmp_path)]) == 2
    assert "cannot be read" in capsys.readouterr().err
