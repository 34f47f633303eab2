"""`sat evaluate --devices N`: the files, the tables and the exit statuses of one process."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sat_command import refused, sat, wait_for
from toys import same_bytes

from sat_core.training import STOPPED


@pytest.mark.backend
def test_a_checkpoint_on_two_devices_stopped_and_gone_on(finished: Path, study: Path, tmp_path: Path) -> None:
    best, data = finished / "arms/size-0.5/checkpoint-best", f"npz:{study.parent / 'five.npz'}"
    attack = ["--attacks", "apgd-ce", "--examples", "18", "--batch-size", "3"]
    command = ["evaluate", str(best), "--data", data, *attack]
    alone = sat(*command, "--out", "out", cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    two = tmp_path / "two"
    two.mkdir()
    together = [*command, "--out", "out", "--devices", "2"]
    with subprocess.Popen(
        [sys.executable, "-m", "sat_evaluation.cli", *together], cwd=two, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for(two, "out/*.npz", process)
        # To all, as batch systems do it: at once, so that no machine is fast enough to be done before. That the command
        # alone passes a stop on to its ranks is tested where these wait for it (run/test_ranks.py).
        ranks = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for number in (process.pid, *map(int, ranks)):
            os.kill(number, signal.SIGTERM)
        assert process.wait(timeout=100) == 75
        assert process.stderr is not None
        assert [line for line in process.stderr.read().splitlines() if line.startswith("sat: ")] == [f"sat: {STOPPED}"]
    assert not list(two.rglob("*.json"))
    done = sat(*together, cwd=two)
    assert done.returncode == 0, done.stderr
    assert done.stdout == alone.stdout
    same_bytes(tmp_path / "out", two / "out")


def without_times(printed: str) -> str:
    """What a command prints, without durations and the widths of columns that go with them."""
    return re.sub(r"[\s─━]+", " ", re.sub(r"\d+(\.\d+)? (s|min|h)\b", "TIME", printed))


@pytest.mark.torch
def test_a_study_on_two_devices(finished: Path, tmp_path: Path) -> None:
    """On two as in a job of Slurm, which leaves what it prints in a file."""
    arguments = ["--level", "screening", "--arms", "size-0.5", "size-1.0"]
    for devices, more in (("1", []), ("2", ["--job", "."])):
        shutil.copytree(finished, tmp_path / devices / "run")
        done = sat("evaluate", "run", *arguments, "--devices", devices, *more, cwd=tmp_path / devices)
        assert done.returncode == 0, done.stderr
        if not more:
            (tmp_path / devices / "printed.txt").write_text(done.stdout)
    assert done.stdout == ""
    one, two = (tmp_path / devices for devices in ("1", "2"))
    printed = [(folder / "printed.txt").read_text() for folder in (one, two)]
    assert without_times(printed[0]) == without_times(printed[1])
    same_bytes(one / "run/arms", two / "run/arms")


@pytest.mark.backend
def test_devices_that_there_cannot_be(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best = finished / "arms/size-0.5/checkpoint-best"
    for path, data in ((finished, []), (best, ["--data", "digits"])):
        refused(capsys, ["evaluate", path, *data, "--devices", "0"], "--devices: expected an integer >= 1, got 0")
        wrong = ["--devices", "2", "--device", "cuda:1"]
        refused(capsys, ["evaluate", path, *data, *wrong], "expected --device cuda, got cuda:1")
