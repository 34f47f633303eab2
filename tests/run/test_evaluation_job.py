"""`sat evaluate --executor slurm` where Slurm's commands are scripts: what is submitted, found again and shown."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from folders import program, put

from sat_evaluation.cli import main

pytestmark = pytest.mark.torch  # where submitit is installed

JOB = ["--executor", "slurm", "--detach"]


@pytest.fixture
def study(out: Path, commands: Path) -> Path:
    """A study on a cluster whose queue is empty."""
    (out / "arms").mkdir()
    program(commands / "squeue", "true")
    program(commands / "srun", "true")
    program(commands / "sbatch", f"cp $1 {out}/script; echo Submitted batch job 7")
    return out


def test_one_job_has_all_devices_and_is_not_submitted_twice(
    study: Path, commands: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    devices = ["--nodes", "2", "--devices", "3"]
    assert main(["evaluate", str(study), *JOB, *devices, "--time", "5", "--slurm", "qos=a"]) == 0
    assert "\n1 job in the queue; the same command waits for it" in capsys.readouterr().out
    options = {line for line in (study / "script").read_text().splitlines() if line.startswith("#SBATCH")}
    expected = {"--nodes=2", "--ntasks-per-node=3", "--time=5", "--qos=a", "--requeue"}
    assert {f"#SBATCH {option}" for option in expected} <= options
    assert not any("--array" in option for option in options)
    assert sorted(path.name for path in study.iterdir()) == ["arms", "script", "slurm", "spec.toml"]
    assert stat.S_IMODE((study / "slurm/submitit").stat().st_mode) == 0o700

    program(commands / "squeue", 'echo "${4%%,*}|7|N/A|PENDING||Priority"')
    program(commands / "sbatch", "exit 1")
    assert main(["evaluate", *JOB, os.path.relpath(study)]) == 0  # on another number of devices
    assert main(["evaluate", str(study), *JOB, "--level", "plus"]) == 2
    assert "Slurm refused the jobs" in capsys.readouterr().err


def test_what_the_job_has_printed_is_shown_once(
    study: Path, commands: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(study), *JOB]) == 0
    (job,) = [unit for units in json.loads((study / "slurm/evaluations.json").read_text()).values() for unit in units]
    put(study / "slurm" / job / "printed.txt", "a table with ε\n")
    program(commands / "sbatch", f"touch {study}/again; echo Submitted batch job 8")
    capsys.readouterr()
    assert main(["evaluate", str(study), "--executor", "slurm"]) == 0
    assert capsys.readouterr().out == "a table with ε\n"
    assert not (study / "again").exists()
    assert main(["evaluate", str(study), *JOB]) == 0  # whose job looks whether all results are still there
    assert (study / "again").exists()


def test_a_job_says_in_one_line_why_it_failed(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(study)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2  # no arm is finished, and what to do
    assert main(["evaluate", str(study), "--job", str(study / "job")]) == 2
    assert capsys.readouterr().err.splitlines() == ["; ".join(lines)]
    assert not (study / "job").exists()


def test_folders_that_others_can_change_are_refused(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study.chmod(0o775)
    assert main(["evaluate", str(study), *JOB]) == 2
    assert f"chmod 755 {study}" in capsys.readouterr().err
    study.chmod(0o755)
    (study / "slurm").mkdir()
    (study / "slurm").chmod(0o777)
    assert main(["evaluate", str(study), *JOB]) == 2
    assert f"chmod 755 {study}/slurm" in capsys.readouterr().err
    assert not (study / "script").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--time", "5"], "--time: for --executor slurm only"),
        (["--detach"], "--detach: for --executor slurm only"),
        (["--nodes", "2"], "--nodes: this machine is one; take --executor slurm"),
        (["--executor", "slurm", "--nodes", "0"], "--nodes: expected an integer >= 1, got 0"),
        (["--executor", "slurm", "--device", "cuda", "--gpus", "2"], "--gpus: expected 1, as many as are used on each"),
        (["--executor", "slurm", "--gpus", "1"], "--gpus: expected none with --device cpu, which uses none, got 1"),
        (["--executor", "slurm", "--nodes", "2", "--device", "cuda:1"], "--device: expected cpu or cuda with several"),
        (["--executor", "slurm", "--slurm", "array=0-3"], "--slurm array: is set by sat itself"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_make_no_job_are_refused(
    study: Path, options: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(study), *options]) == 2
    assert says in capsys.readouterr().err
    assert not (study / "script").exists()
