"""Jobs of a run in Slurm's queue: a file lists those that were submitted, squeue says where they are."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Sequence
from typing import final

import attrs

from sat_core import files
from sat_core.errors import DataError, NotInstalledError
from sat_core.run_folder import RunFolder
from sat_evaluation.run.executors.base import Place

# name, number of the job (in an array, of the whole), index in the array, state, nodes, reason
_FORMAT = "%j|%F|%K|%T|%N|%r"
# in these states a process of the unit may be there; in all others it waits
_RUNNING = ("RUNNING", "COMPLETING", "SIGNALING", "STAGE_OUT", "STOPPED", "SUSPENDED")


@final
@attrs.frozen
class Submission:
    """A job or an array of jobs.

    Attributes:
        name: Of the job, which no other job has.
        units: In the order of the array.
    """

    name: str
    units: tuple[str, ...]


def submissions(folder: RunFolder) -> list[Submission]:
    """Return the submissions of a run that may still be in the queue; DataError if the file is damaged."""
    path = folder.jobs_file
    if not path.exists():
        return []
    try:
        return [Submission(str(name), tuple(map(str, units))) for name, units in files.read_json(path).items()]
    except (AttributeError, TypeError, DataError) as error:
        raise DataError(
            f"{path}: expected names of jobs with their units\ndelete {path} once none of them is in the queue"
        ) from error


def record(folder: RunFolder, submissions: Iterable[Submission]) -> None:
    """Save the submissions of a run."""
    files.write_json(folder.jobs_file, {each.name: list(each.units) for each in submissions})


def places(submissions: Sequence[Submission]) -> dict[str, Place] | None:
    """Return where units of these submissions are that are queued or running; None if Slurm does not answer.

    Raises:
        NotInstalledError: There is no squeue.
    """
    # a folder that was never on Slurm needs no squeue
    if not submissions:
        return {}
    if not shutil.which("squeue"):
        raise NotInstalledError("squeue: not found; expected Slurm's commands on this machine, as on a login node")
    names = ",".join(each.name for each in submissions)
    # --array: a line per job. Else those that wait share one, with an index such as 0-5
    command = ["squeue", "--noheader", "--array", "--name", names, "--format", _FORMAT]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    # no answer is no empty queue: that would submit units a second time
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        return None
    units = {each.name: each.units for each in submissions}
    there = {}
    for line in done.stdout.splitlines():
        name, job, index, state, nodes, reason = line.strip().split("|", 5)
        # a job that is no array has N/A in place of an index
        unit = units[name][int(index) if index.isdecimal() else 0]
        running = state in _RUNNING
        there[unit] = Place(running, f"{job}_{index}" if index.isdecimal() else job, nodes if running else reason)
    return there
