"""The Slurm executor where its commands are scripts: the queue, options, and who may change what jobs run."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest
from folders import ARMS, program, put, results, states

from sat_core.errors import DataError, Detached, NotInstalledError, RunDirectoryError, SpecError
from sat_core.run_folder import RunFolder
from sat_evaluation.cli.options import running
from sat_evaluation.run.executors import queue
from sat_evaluation.run.executors.base import Place, Unit
from sat_evaluation.run.executors.queue import Submission
from sat_evaluation.run.executors.slurm import Slurm, minutes


def test_the_queue_is_read_by_name(out: Path, commands: Path) -> None:
    submissions = [Submission("sat-a", ("ranking",)), Submission("sat-b", ARMS)]
    queue.record(RunFolder(out), submissions)
    assert queue.submissions(RunFolder(out)) == submissions
    lines = ["sat-a|7|N/A|RUNNING|one|None", "sat-b|8|2|PENDING||Dependency", "sat-b|8|0|COMPLETING|two|None"]
    program(commands / "squeue", f"test $4 = sat-a,sat-b && printf '{'|n'.join(lines)}' | sed 's/|n/\\n/g'")
    there = queue.places(submissions)
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
    queue.record(RunFolder(out), [Submission("sat-a", ("ranking", "size-0.0"))])
    put(out / "arms" / "size-0.0" / "results.json", results("size-0.0"))
    program(commands / "squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    assert queue.places(queue.submissions(RunFolder(out))) is None
    assert states(out) == {
        "ranking": "unknown", "size-0.0": "finished", "size-0.5": "waiting", "size-1.0": "waiting",
    }  # fmt: skip
    monkeypatch.setenv("PATH", "")
    assert states(out)["ranking"] == "unknown"
    with pytest.raises(NotInstalledError, match="squeue: not found"):
        queue.places(queue.submissions(RunFolder(out)))
    for content in ("[]", "", '{"sat-a": 3}'):
        put(out / "slurm" / "jobs.json", content)
        with pytest.raises(DataError, match=r"jobs.json: expected names of jobs.*\ndelete .*jobs.json once none"):
            queue.submissions(RunFolder(out))


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
        (["--executor", "slurm", "--gpus", "-1"], "--gpus: expected 1, as many as are used on each node"),
        (["--executor", "slurm", "--devices", "2", "--gpus", "4"], "(--devices), or 0, got 4"),
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
        Slurm().check(RunFolder(tmp_path / name))
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777])
def test_folders_in_which_others_can_change_what_jobs_run_are_refused(mode: int, tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        Slurm().check(RunFolder(tmp_path / "new"))  # is made so that it can be used
    finally:
        os.umask(before)
    Slurm().check(RunFolder(tmp_path / "new"))
    (tmp_path / "new").chmod(mode)
    with pytest.raises(RunDirectoryError, match=r"nobody else can change.*\nchmod 755 ") as error:
        Slurm().check(RunFolder(tmp_path / "new"))
    assert len(str(error.value).splitlines()) <= 3


@pytest.mark.torch
def test_jobs_run_what_nobody_else_can_change_and_no_file_of_the_working_directory(out: Path, commands: Path) -> None:
    program(commands / "squeue", "true")
    program(commands / "srun", "true")
    program(commands / "sbatch", f"cat $1 > {out}/script; echo Submitted batch job 7")
    executor = Slurm(detach=True, partition="gpu", more={"qos": "low"})
    executor.check(RunFolder(out))
    with pytest.raises(Detached):
        executor.run(RunFolder(out), [Unit("ranking", 1)], "cpu", lambda *_: None)
    lines = (out / "script").read_text().splitlines()
    assert {"#SBATCH --partition=gpu", "#SBATCH --qos=low"} <= set(lines)
    assert any(f"{sys.executable} -P -u -m submitit" in line for line in lines)
    pickles = out / "slurm" / "submitit"
    assert list(pickles.glob("*.pkl"))
    assert stat.S_IMODE(pickles.stat().st_mode) == 0o700
    pickles.chmod(0o750)
    with pytest.raises(RunDirectoryError, match=r"submitit: expected .*\nchmod 700 "):
        executor.run(RunFolder(out), [Unit("size-0.0", 1)], "cpu", lambda *_: None)


@pytest.mark.torch
@pytest.mark.parametrize(("gpus", "asked"), [(None, True), (4, True), (0, False)])
def test_jobs_have_a_task_and_a_card_for_each_device(gpus: int | None, asked: bool, out: Path, commands: Path) -> None:
    program(commands / "squeue", "true")
    program(commands / "srun", "true")
    program(commands / "sbatch", f"cat $1 > {out}/script; echo Submitted batch job 7")
    executor = Slurm(detach=True, nodes=2, devices=4, gpus=gpus)
    with pytest.raises(Detached):
        executor.run(RunFolder(out), [Unit("size-0.0", 3), Unit("size-0.5", 3)], "cuda", lambda *_: None)
    *options, srun = [line for line in (out / "script").read_text().splitlines() if line.startswith(("#SB", "srun"))]
    assert {"#SBATCH --nodes=2", "#SBATCH --ntasks-per-node=4", "#SBATCH --cpus-per-task=3"} <= set(options)
    assert ("#SBATCH --gpus-per-node=4" in options) == asked
    assert "#SBATCH --array=0-1%2" in options
    # whatever the cluster's defaults: an error of one task ends all, and the end of one does not
    assert "--kill-on-bad-exit=1 --wait=0" in srun


def test_cards_that_nothing_uses_are_refused(out: Path) -> None:
    with pytest.raises(SpecError, match="--gpus: expected none with --device cpu, which uses none, got 1"):
        Slurm(gpus=1).run(RunFolder(out), [Unit("size-0.0", 1)], "cpu", lambda *_: None)


def test_options_reach_the_executor() -> None:
    from sat_evaluation.cli import parser

    arguments = ["run", "a.toml", "--out", "b", "--executor", "slurm", "--time", "1-0", "--memory", "8G", "--jobs", "3"]
    options = running(parser().parse_args([*arguments, "--slurm", "qos=low", "--slurm", "exclusive"]))
    assert options["executor"] == Slurm(minutes=1440, memory="8G", jobs=3, more={"qos": "low", "exclusive": True})
