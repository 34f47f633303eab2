"""Commands of `sat` on the cluster of a test, and what the folder of a run and Slurm say about them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cluster import Cluster, command

from sat_evaluation.run.progress import Progress, read

STUDY = """
data.name = "npz:{data}"
model.name = "small-cnn"
[attack]
eps = 0.5
[training]
epochs = {epochs}
batch_size = 16
lr = 0.02
[ranking]
epochs = 2
[evaluation]
selection_epochs = [{epochs}]
selection_share = 0.3
selection_attacks = ["apgd-ce"]
attacks = ["apgd-ce"]
examples = 10
"""
TEN = """
[grid]
subset.size = [0.0, 0.5]
training.seed = [0, 1, 2, 3, 4]
"""
STARTED: list[Command] = []
"""Commands of this test."""
LONG = 40_000
"""Epochs that no test waits for: what is stopped in them is stopped in training."""


def write(path: Path, data: Path, grid: str, epochs: int) -> Path:
    path.write_text(STUDY.format(data=data, epochs=epochs) + grid)
    return path


class Command:
    """A command in a process of its own, which prints to a file."""

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        self._log = log
        with log.open("w") as file:
            call = [sys.executable, "-m", "sat_evaluation.cli", *arguments]
            self.process = subprocess.Popen(call, stdout=file, stderr=file)
        STARTED.append(self)

    def printed(self) -> str:
        return self._log.read_text()

    def ended(self) -> tuple[int, str]:
        return self.process.wait(timeout=500), self.printed()


class Run(Command):
    """`sat run`."""

    def __init__(self, study: Path, out: Path, *arguments: str) -> None:
        call = ["run", str(study), "--out", str(out), "--save-every", "0", *arguments]
        super().__init__(call, out.with_name(f"{out.name}-{len(STARTED)}.txt"))


def on_slurm(study: Path, out: Path, *arguments: str) -> Run:
    return Run(study, out, "--executor", "slurm", "--time", "10", *arguments)


def status(out: Path) -> dict[str, str]:
    """What `sat status` says of each unit."""
    call = [sys.executable, "-m", "sat_evaluation.cli", "status", str(out), "--all"]
    lines = subprocess.run(call, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    return dict(re.split(r"  +", line, maxsplit=1) for line in lines[:-1] if not line.startswith(" "))  # type: ignore[misc]


def jobs_of(out: Path, cluster: Cluster) -> dict[str, str]:
    """Map the units in the queue to the numbers of their jobs."""
    names: dict[str, list[str]] = json.loads((out / "slurm" / "jobs.json").read_text())
    lines = command("squeue", "--noheader", "--array", "--format", "%j %i").splitlines()
    jobs = [(names[name], job) for name, job in map(str.split, lines) if name in names]
    return {units[int(job.partition("_")[2] or 0)]: job for units, job in jobs}


def training(out: Path) -> str:
    """An arm that is in the first half of its training; empty if there is none."""
    return next((name for name, each in progress(out).items() if each.share < 0.5), "")


def progress(out: Path) -> dict[str, Progress]:
    """How far the training of each arm is, of those that are in it."""
    trainings = {path.parent.name: read(path) for path in out.glob("arms/*/progress.json")}
    return {name: each for name, each in trainings.items() if each and each.stage == "training" and each.done > 0}


def gone_on(out: Path, before: dict[str, Progress]) -> bool:
    """Return whether each arm was started again and continued at or after `before`."""
    return all(name in progress(out) and progress(out)[name].first > each.done for name, each in before.items())


def starts(out: Path) -> Counter[str]:
    """How many processes each arm had."""
    logs = out.glob("arms/*/log.txt")
    return Counter({log.parent.name: log.read_text().count("# started ") for log in logs})


def worker_of(out: Path, unit: str, rank: int = 0) -> int:
    """The number of the process that runs a unit, or one of its ranks."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (folder / "cmdline").read_bytes().split(b"\0")[3:6] == [
                b"sat_evaluation.run.worker",
                *map(os.fsencode, (out, unit)),
            ] and _rank(folder) == rank:
                return int(folder.name)
    raise ProcessLookupError(unit)


def _rank(process: Path) -> int:
    pairs = (pair.partition(b"=") for pair in (process / "environ").read_bytes().split(b"\0"))
    return int({key: value for key, _, value in pairs}.get(b"RANK", 0))
