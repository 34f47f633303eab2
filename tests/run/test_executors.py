"""The local executor: what runs where, and how failures are recorded."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from folders import ARMS, program, put

from sat_core import files
from sat_core.errors import EXIT_CONTINUE, RunDirectoryError
from sat_core.run_folder import RunFolder
from sat_evaluation.run import worker
from sat_evaluation.run.executors.base import Outcome, Place, Unit
from sat_evaluation.run.executors.local import Local, gpus
from sat_evaluation.run.executors.processes import EXIT_FULL


def run(out: Path, units: list[Unit], executor: Local, device: str = "cpu") -> tuple[Outcome, int]:
    """Run units; return how they ended, and the largest number that ran at the same time."""
    most = 0

    def tick(_outcome: Outcome, places: Mapping[str, Place]) -> None:
        nonlocal most
        most = max(most, len(places))

    return executor.run(RunFolder(out), units, device, tick), most


def test_each_gpu_has_a_worker_of_its_own(
    out: Path, workers: Path, commands: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(commands / "nvidia-smi", "echo GPU-a; echo GPU-b")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in ARMS:
        put(
            workers / name, f"echo $CUDA_VISIBLE_DEVICES > {out}/{name}; echo $OMP_NUM_THREADS >> {out}/{name}; sleep 1"
        )
    outcome, most = run(out, [Unit(name, threads=3) for name in ARMS], Local(), "cuda")
    assert sorted(outcome.done) == sorted(ARMS)
    assert most == 2
    assert [(out / name).read_text().split() for name in ARMS[:2]] == [["GPU-a", "3"], ["GPU-b", "3"]]


def test_gpus_are_those_that_are_visible(commands: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(commands / "nvidia-smi", "echo GPU-a; echo GPU-b")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-5")
    assert gpus() == ["2", "GPU-5"]
    assert Local(jobs=3).slots("cuda", 1) == [{"CUDA_VISIBLE_DEVICES": name} for name in ("2", "GPU-5", "2")]
    assert Local().slots("cuda:1", 1) == [{}]
    assert Local(jobs=4).slots("cpu", 1) == [{}] * 4
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    program(commands / "nvidia-smi", "exit 9")
    assert gpus() == []
    assert Local().slots("cuda", 1) == [{}]


def test_a_failure_is_kept_with_its_reason_until_the_next_start(out: Path, workers: Path) -> None:
    put(workers / "size-0.0", "echo one; echo; echo two >&2; exit 1")
    put(workers / "size-0.5", "echo about to go; kill -KILL $$")
    put(workers / "size-1.0", f"exit {EXIT_FULL}")
    outcome, _ = run(out, [Unit(name, 1) for name in ARMS], Local(jobs=2))
    assert outcome.failed["size-0.0"] == f"two (see {out}/arms/size-0.0/log.txt)"
    reasons = {name: RunFolder(out).unit(name).failure() for name in ARMS}
    assert reasons["size-0.0"] == "two"
    assert reasons["size-0.5"].startswith("ended by SIGKILL")
    assert reasons["size-1.0"].startswith("no space left on the disk")
    assert RunFolder(out).unit("size-0.0").log_end() == ["one", "two"]
    assert RunFolder(out).unit("size-0.5").log_end() == ["about to go"]
    for name in ARMS:
        put(workers / name, "true")
    assert sorted(run(out, [Unit(name, 1) for name in ARMS], Local())[0].done) == sorted(ARMS)
    assert [RunFolder(out).unit(name).failure() for name in ARMS] == ["", "", ""]
    assert RunFolder(out).unit("size-0.0").log_end() == []


def test_arms_without_a_ranking_say_so(out: Path, workers: Path) -> None:
    put(workers / "ranking", "echo no data; exit 2")
    put(workers / "size-0.0", "true")
    units = [Unit("ranking", 1), Unit("size-0.0", 1), Unit("size-0.5", 1, after_ranking=True)]
    outcome, _ = run(out, units, Local(jobs=1))
    assert outcome.done == ["size-0.0"]
    assert outcome.failed["size-0.5"] == RunFolder(out).unit("size-0.5").failure() == "not run: the ranking failed"


def test_a_unit_whose_folder_cannot_be_written_takes_no_other_down(out: Path, workers: Path) -> None:
    put(out / "arms" / "size-0.0", "a file")
    put(workers / "size-0.5", "true")
    outcome, _ = run(out, [Unit(name, 1) for name in ARMS[:2]], Local(jobs=1))
    assert outcome.done == ["size-0.5"]
    assert list(outcome.failed) == ["size-0.0"]


def test_a_worker_that_was_asked_to_stop_has_not_failed(out: Path, workers: Path) -> None:
    put(workers / "size-0.0", f"exit {EXIT_CONTINUE}")
    put(workers / "size-0.5", "true")
    outcome, _ = run(out, [Unit("size-0.0", 1), Unit("size-0.5", 1)], Local(jobs=1))
    assert "the same command goes on" in outcome.stopped
    assert outcome.failed == {}
    assert outcome.done == ["size-0.5"]  # which no one asked to stop


def test_arms_do_not_wait_for_a_ranking_that_was_stopped(out: Path, workers: Path) -> None:
    put(workers / "ranking", "kill -TERM $$")
    outcome, _ = run(out, [Unit("ranking", 1), Unit("size-0.5", 1, after_ranking=True)], Local(jobs=1))
    assert "the same command goes on" in outcome.stopped
    assert (outcome.done, outcome.failed) == ([], {})


def test_a_full_disk_has_an_exit_status_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise RunDirectoryError("checkpoint: cannot be written") from error

    def other(*_: Any) -> None:
        raise RunDirectoryError("something else")

    monkeypatch.setattr(worker.sys, "argv", ["worker", "out", "size-0.0", "20"])
    monkeypatch.setattr(worker, "run_unit", full)
    assert worker.main() == EXIT_FULL
    monkeypatch.setattr(worker, "run_unit", other)
    assert worker.main() == 2


def test_a_worker_whose_parent_has_gone_before_it_began_ends(out: Path) -> None:
    """The parent passes its number on, because an orphan's `os.getppid()` is another."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    command = [sys.executable, "-m", "sat_evaluation.run.worker", str(out), "size-0.0", "20"]
    with files.locked(out / "arms" / "size-0.0"):  # which it would wait for
        done = subprocess.run(command, env={**os.environ, "SAT_PARENT": str(gone.pid)}, timeout=50)
    assert done.returncode == EXIT_CONTINUE
