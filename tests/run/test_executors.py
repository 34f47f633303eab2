"""Executors and `sat status`, without a cluster: what runs where, what is kept of a failure, what a folder tells."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sat_core import files
from sat_core.errors import EXIT_CONTINUE, DataError, Detached, NotInstalledError, RunDirectoryError, SpecError
from sat_evaluation.cli import main
from sat_evaluation.cli.options import running
from sat_evaluation.run import worker
from sat_evaluation.run.executors import processes, queue
from sat_evaluation.run.executors.base import Outcome, Place, Unit
from sat_evaluation.run.executors.local import Local, gpus
from sat_evaluation.run.executors.processes import EXIT_FULL, failure, log_end, recorded_failure
from sat_evaluation.run.executors.queue import Submission
from sat_evaluation.run.executors.slurm import Slurm, minutes
from sat_evaluation.run.progress import ProgressFile
from sat_evaluation.run.status import held, statuses

ARMS = ("size-0.0", "size-0.5", "size-1.0")
SPEC = """
[data]
name = "digits"
[training]
epochs = 2
[grid]
"subset.size" = [0.0, 0.5, 1.0]
[run]
backend = "torch"
device = "cpu"
"""
RESULTS = {
    "clean_accuracy": {"all": {"value": 0.98, "low": 0.95, "high": 0.99}},
    "robust_accuracy": {"all": {"value": 0.815, "low": 0.75, "high": 0.87}},
}


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def program(path: Path, text: str) -> Path:
    """A command that the tests put in another's place."""
    put(path, f"#!/bin/sh\n{text}\n").chmod(stat.S_IRWXU)
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    put(tmp_path / "out" / "spec.toml", SPEC)
    return tmp_path / "out"


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in front of all others on PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "bin"


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A program in the worker's place that does what the file named after its unit says."""
    text = "for last; do unit=$prior; prior=$last; done; exec sh $(dirname $0)/$unit"
    monkeypatch.setattr(processes.sys, "executable", str(program(tmp_path / "worker" / "start", text)))
    return tmp_path / "worker"


def run(out: Path, units: list[Unit], executor: Local, device: str = "cpu") -> tuple[Outcome, int]:
    """How the units ended, and how many ran at a time at most."""
    most = 0

    def tick(_outcome: Outcome, places: Mapping[str, Place]) -> None:
        nonlocal most
        most = max(most, len(places))

    return executor.run(out, units, device, tick), most


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
    kept = {name: recorded_failure(out, name) for name in ARMS}
    assert kept["size-0.0"] == "two"
    assert kept["size-0.5"].startswith("ended by SIGKILL")
    assert kept["size-1.0"].startswith("no space left on the disk")
    assert log_end(out, "size-0.0") == ["one", "two"]
    assert log_end(out, "size-0.5") == ["about to go"]
    for name in ARMS:
        put(workers / name, "true")
    assert sorted(run(out, [Unit(name, 1) for name in ARMS], Local())[0].done) == sorted(ARMS)
    assert [recorded_failure(out, name) for name in ARMS] == ["", "", ""]
    assert log_end(out, "size-0.0") == []


def test_arms_without_a_ranking_say_so(out: Path, workers: Path) -> None:
    put(workers / "ranking", "echo no data; exit 2")
    put(workers / "size-0.0", "true")
    units = [Unit("ranking", 1), Unit("size-0.0", 1), Unit("size-0.5", 1, after_ranking=True)]
    outcome, _ = run(out, units, Local(jobs=1))
    assert outcome.done == ["size-0.0"]
    assert outcome.failed["size-0.5"] == recorded_failure(out, "size-0.5") == "not run: the ranking failed"


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
    monkeypatch.setattr(worker, "work", full)
    assert worker.main() == EXIT_FULL
    monkeypatch.setattr(worker, "work", other)
    assert worker.main() == 2


def states(out: Path) -> dict[str, str]:
    return {unit.name: unit.state for unit in statuses(out)}


def test_the_folder_tells_the_state_of_every_unit(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert states(out) == dict.fromkeys(("ranking", *ARMS), "waiting")
    put(out / "ranking" / "ranking.npz", "")
    put(out / "arms" / "size-0.0" / "results.json", json.dumps(RESULTS))
    ProgressFile(out / "arms" / "size-0.5" / "progress.json")("training", 1, 2)
    put(out / "arms" / "size-1.0" / "log.txt", "# started now on here\nTraceback:\n  line 3\nValueError: no\nno\n")
    failure(out, "size-1.0", 1)
    before = sorted(out.rglob("*"))
    assert states(out) == {"ranking": "finished", "size-0.0": "finished", "size-0.5": "stopped", "size-1.0": "failed"}
    with files.locked(out / "arms" / "size-0.5"):
        assert states(out)["size-0.5"] == "running"
        assert main(["status", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "robust 81.5 % [75.0, 87.0], clean 98.0 %" in printed
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
        json.dumps({**RESULTS, "arm": "size-0.0"}),
    ],
)
def test_results_that_are_none_are_named(out: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    put(out / "arms" / "size-0.5" / "results.json", content)
    assert states(out)["size-0.5"] == "unreadable"
    main(["status", str(out)])
    assert "size-0.5  unreadable results.json: not the results of a finished arm" in capsys.readouterr().out


def test_a_lock_is_asked_for_without_being_taken(tmp_path: Path) -> None:
    assert not held(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with files.locked(tmp_path):
        assert held(tmp_path)
    assert not held(tmp_path)
    with files.locked(tmp_path):
        pass


def test_more_arms_than_lines_shows_those_that_matter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "many"
    put(out / "spec.toml", SPEC.replace("[0.0, 0.5, 1.0]", str([i / 100 for i in range(100)])))
    for i in range(50):
        put(out / f"arms/size-{i / 100}/results.json", json.dumps(RESULTS))
    processes.record_failure(out, "size-0.7", "no data")
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


def test_the_queue_is_read_by_name(out: Path, commands: Path) -> None:
    found = [Submission("sat-a", ("ranking",)), Submission("sat-b", ARMS)]
    queue.record(out, found)
    assert queue.submissions(out) == found
    lines = ["sat-a|7|N/A|RUNNING|one|None", "sat-b|8|2|PENDING||Dependency", "sat-b|8|0|COMPLETING|two|None"]
    program(commands / "squeue", f"test $4 = sat-a,sat-b && printf '{'|n'.join(lines)}' | sed 's/|n/\\n/g'")
    there = queue.places(found)
    assert there == {
        "ranking": Place(True, "7", "one"),
        "size-1.0": Place(False, "8_2", "Dependency"),
        "size-0.0": Place(True, "8_0", "two"),
    }
    assert [place.where for place in there.values()] == ["job 7 on one", "job 8_2, Dependency", "job 8_0 on two"]
    assert states(out) == {
        "ranking": "running", "size-0.0": "running", "size-0.5": "waiting", "size-1.0": "queued",
    }  # fmt: skip


def test_a_queue_that_does_not_answer_is_no_empty_one(
    out: Path, commands: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.record(out, [Submission("sat-a", ("ranking", "size-0.0"))])
    put(out / "arms" / "size-0.0" / "results.json", json.dumps(RESULTS))
    program(commands / "squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    assert queue.places(queue.submissions(out)) is None
    assert states(out) == {
        "ranking": "unknown", "size-0.0": "finished", "size-0.5": "waiting", "size-1.0": "waiting",
    }  # fmt: skip
    monkeypatch.setenv("PATH", "")
    assert states(out)["ranking"] == "unknown"
    with pytest.raises(NotInstalledError, match="squeue: not found"):
        queue.places(queue.submissions(out))
    for content in ("[]", "", '{"sat-a": 3}'):
        put(out / "slurm" / "jobs.json", content)
        with pytest.raises(DataError, match=r"jobs.json: expected names of jobs.*\ndelete .*jobs.json once none"):
            queue.submissions(out)


@pytest.mark.parametrize(
    ("text", "expected"), [("90", 90), ("90:30", 91), ("4:00:00", 240), ("2-12", 3600), ("1-1:1:1", 1502)]
)
def test_time_limits_are_sbatchs(text: str, expected: int) -> None:
    assert minutes(text) == expected


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--partition", "x"], "--partition: for --executor slurm only"),
        (["--detach"], "--detach: for --executor slurm only"),
        (["--executor", "slurm", "--time", "soon"], "--time: expected minutes, HH:MM:SS or D-HH:MM:SS, got 'soon'"),
        (["--executor", "slurm", "--time", "0"], "--time: expected a minute or more"),
        (["--executor", "slurm", "--gpus", "-1"], "--gpus: expected a count, got -1"),
        (["--executor", "slurm", "--jobs", "0"], "--jobs: expected an integer >= 1, got 0"),
        (["--executor", "slurm", "--partition", "a\n#SBATCH --wrap=id"], "--partition: expected printable characters"),
        (["--executor", "slurm", "--account", "a\tb"], "--account: expected printable characters"),
        (["--executor", "slurm", "--memory", "1G\r"], "--memory: expected printable characters"),
        (["--executor", "slurm", "--slurm", "comment=a\nid"], "--slurm: expected printable characters"),
        (["--executor", "slurm", "--slurm", "comment\nid=a"], "--slurm: expected printable characters"),
        (["--executor", "slurm", "--slurm", "a b=c"], "--slurm: expected a long option of sbatch"),
        (["--executor", "slurm", "--slurm", "job-name=x"], "--slurm job-name: is set by sat itself"),
        (["--executor", "slurm", "--slurm", "outp=x"], "--slurm outp: is set by sat itself"),
        (["--executor", "slurm", "--slurm", "nodes=2"], "not for --slurm: account, array, clusters"),
    ],
    ids=lambda value: repr(" ".join(value[-2:])) if isinstance(value, list) else "",
)
def test_options_that_make_no_executor_are_refused(arguments: list[str], says: str) -> None:
    from sat_evaluation.cli import parser

    with pytest.raises(SpecError) as error:
        running(parser().parse_args(["run", "study.toml", "--out", "out", *arguments]))
    assert says in str(error.value)
    assert len(str(error.value).splitlines()) <= 3


@pytest.mark.parametrize("name", ["runs-%j", "a%%b", "a\\b", "a\nb"])
def test_paths_in_which_slurm_would_replace_something_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="expected a path without %"):
        Slurm().check(tmp_path / name)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777])
def test_folders_in_which_others_can_change_what_jobs_run_are_refused(mode: int, tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        Slurm().check(tmp_path / "new")  # is made so that it can be used
    finally:
        os.umask(before)
    Slurm().check(tmp_path / "new")
    (tmp_path / "new").chmod(mode)
    with pytest.raises(RunDirectoryError, match=r"nobody else can change.*\nchmod 755 ") as error:
        Slurm().check(tmp_path / "new")
    assert len(str(error.value).splitlines()) <= 3


@pytest.mark.torch
def test_jobs_run_what_nobody_else_can_change_and_no_file_of_the_working_directory(out: Path, commands: Path) -> None:
    program(commands / "squeue", "true")
    program(commands / "srun", "true")
    program(commands / "sbatch", f"cat $1 > {out}/script; echo Submitted batch job 7")
    executor = Slurm(detach=True, partition="gpu", more={"qos": "low"})
    executor.check(out)
    with pytest.raises(Detached):
        executor.run(out, [Unit("ranking", 1)], "cpu", lambda *_: None)
    lines = (out / "script").read_text().splitlines()
    assert {"#SBATCH --partition=gpu", "#SBATCH --qos=low"} <= set(lines)
    assert any(f"{sys.executable} -P -u -m submitit" in line for line in lines)
    pickles = out / "slurm" / "submitit"
    assert list(pickles.glob("*.pkl"))
    assert stat.S_IMODE(pickles.stat().st_mode) == 0o700
    pickles.chmod(0o750)
    with pytest.raises(RunDirectoryError, match=r"submitit: expected .*\nchmod 700 "):
        executor.run(out, [Unit("size-0.0", 1)], "cpu", lambda *_: None)


def test_options_reach_the_executor() -> None:
    from sat_evaluation.cli import parser

    arguments = ["run", "a.toml", "--out", "b", "--executor", "slurm", "--time", "1-0", "--memory", "8G", "--jobs", "3"]
    options = running(parser().parse_args([*arguments, "--slurm", "qos=low", "--slurm", "exclusive"]))
    assert options["executor"] == Slurm(minutes=1440, memory="8G", jobs=3, more={"qos": "low", "exclusive": True})


def test_a_worker_whose_parent_has_gone_before_it_began_ends(tmp_path: Path) -> None:
    """It learns its parent's number from that one: of an orphan the system names another."""
    code = "import os, time; from sat_evaluation.run.worker import _end_with_parent; _end_with_parent(); time.sleep(60)"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "SAT_PARENT": str(gone.pid)}, timeout=50)
    assert done.returncode == EXIT_CONTINUE
