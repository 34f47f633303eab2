"""Units as jobs of Slurm, submitted by submitit. What is queued or runs already is waited for, not submitted again."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from itertools import groupby
from typing import Any, final
from uuid import uuid4

import attrs

from sat_core.errors import Detached, NotInstalledError, RunDirectoryError, SpecError, install
from sat_core.run_folder import RANKING, RunFolder
from sat_evaluation.run.executors import queue
from sat_evaluation.run.executors.base import Executor, Outcome, Place, Tick, Unit, stop_signals
from sat_evaluation.run.executors.processes import RANKING_FAILED
from sat_evaluation.run.executors.queue import Submission
from sat_evaluation.run.executors.sbatch import check_line, check_option, check_path, own_folder
from sat_evaluation.run.executors.task import Task

_STAYS = "the jobs stay in the queue: the same command waits for them again, scancel ends them"
_SILENT = "Slurm's controller does not answer; waiting for it"
_GONE = "cancelled, over its memory or its time, its node failed, or the disk is full"
_POLL = 5.0
"""Seconds between two questions to the controller."""
_LOOKS = 3
"""How often a unit is found neither in the queue nor finished before it is given up: shared disks may lag behind."""
_LARGEST = 1000
"""Jobs of one array; Slurm's default for MaxArraySize is 1001."""
_RESTARTS = 1000
"""How often a job may reach its time limit."""


@final
@attrs.frozen(kw_only=True)
class Slurm(Executor):
    """Jobs of a cluster whose machines share the study's folder.

    jobs: of one array at a time. partition, account, memory: as sbatch takes them. minutes: the time limit of a job,
    which is requeued there and goes on. gpus: for each job. more: any option of sbatch to its value, True for one
    without. detach: only submit, then raise Detached. Raises SpecError.
    """

    partition: str | None = None
    minutes: int = 240
    gpus: int | None = None
    memory: str | None = None
    account: str | None = None
    more: Mapping[str, str | bool] = attrs.field(factory=dict)
    detach: bool = False

    elsewhere = True

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.minutes < 1:
            raise SpecError(f"--time: expected a minute or more, got {self.minutes}")
        if self.gpus is not None and self.gpus < 0:
            raise SpecError(f"--gpus: expected a count, got {self.gpus}")
        for option in ("partition", "account", "memory"):
            check_line(f"--{option}", getattr(self, option) or "")
        for key, value in self.more.items():
            check_option(key, value)

    def check(self, folder: RunFolder) -> None:
        """See `Executor`."""
        check_path(folder.path)
        own_folder(folder.path)

    @property
    def submitting(self) -> Executor:
        """See `Executor`."""
        return attrs.evolve(self, detach=True)

    def run(self, folder: RunFolder, units: Sequence[Unit], device: str, tick: Tick) -> Outcome:
        """See `Executor`. A stop ends the waiting, and no job. RunDirectoryError if a job is refused."""
        outcome = Outcome()
        with stop_signals(outcome, _STAYS):
            self._submit_missing(folder, units, device, outcome, tick)
            if self.detach and not outcome.stopped:
                raise Detached(f"{len(units)} jobs in the queue; the same command waits for them and sums up")
            self._wait(folder, units, outcome, tick)
        return outcome

    def _answer(self, folder: RunFolder, outcome: Outcome, tick: Tick) -> dict[str, Place]:
        """What squeue says, however long that takes; nothing if a stop is asked for meanwhile."""
        while not outcome.stopped:
            there = queue.places(queue.submissions(folder))
            outcome.notice = _SILENT if there is None else ""
            if there is not None:
                return there
            _pause(_POLL, outcome, tick, {})
        return {}

    def _wait(self, folder: RunFolder, units: Sequence[Unit], outcome: Outcome, tick: Tick) -> None:
        left = {unit.name: unit for unit in units}
        looks, last = dict.fromkeys(left, 0), dict.fromkeys(left, "its job")
        while left and not outcome.stopped:
            there = self._answer(folder, outcome, tick)
            last |= {name: place.job for name, place in there.items()}
            for name in [] if outcome.stopped else list(left):
                looks[name] = 0 if name in there else looks[name] + 1
                unit = folder.unit(name)
                if unit.is_finished:
                    outcome.done.append(name)
                elif reason := unit.failure():
                    outcome.failed[name] = f"{reason} (see {unit.log_file})"
                elif looks[name] == _LOOKS:
                    needless = left[name].after_ranking and RANKING in outcome.failed
                    reason = RANKING_FAILED if needless else f"{last[name]} left the queue: {_GONE}"
                    outcome.failed[name] = unit.record_failure(reason)
                else:
                    continue
                del left[name]
            _pause(_POLL if left else 0, outcome, tick, there)

    def _submit_missing(
        self, folder: RunFolder, units: Sequence[Unit], device: str, outcome: Outcome, tick: Tick
    ) -> None:
        """Submit the ranking, then arrays of the arms, alike in what they ask for; none that is there already."""
        there = self._answer(folder, outcome, tick)
        if outcome.stopped:
            return
        own_folder(folder.queue)
        own_folder(folder.pickles, 0o700)
        known = [each for each in queue.submissions(folder) if any(unit in there for unit in each.units)]
        missing = [unit for unit in units if unit.name not in there or folder.unit(unit.name).failure()]
        for unit in missing:
            folder.unit(unit.name).forget_failure()
        ranking = there[RANKING].job if RANKING in there else ""

        def kind(unit: Unit) -> tuple[bool, bool, int]:
            return unit.name != RANKING, unit.after_ranking, unit.threads

        for (_, needs_ranking, _), alike in groupby(sorted(missing, key=kind), key=kind):
            for array in _parts(list(alike)):
                name = f"sat-{re.sub('[^A-Za-z0-9_.-]', '_', folder.path.resolve().name)}-{uuid4().hex[:8]}"
                known.append(Submission(name, tuple(unit.name for unit in array)))
                queue.record(folder, known)  # before they are submitted: found by name if this process dies meanwhile
                options = self._parameters(name, array[0].threads, device, ranking if needs_ranking else "")
                job = None
                while job is None and not outcome.stopped:
                    job = self._submit(folder, array, options)
                    if job is None:  # it may have been taken all the same
                        self._answer(folder, outcome, tick)
                        subprocess.run(["scancel", "--name", name], check=False, capture_output=True)
                if job and array[0].name == RANKING:
                    ranking = job

    def _submit(self, folder: RunFolder, units: Sequence[Unit], options: Mapping[str, Any]) -> str | None:
        """Submit one array; returns its number, None if the controller does not answer. RunDirectoryError: refused."""
        try:
            from submitit import SlurmExecutor
            from submitit.core.utils import FailedJobError
        except ImportError as error:
            raise NotInstalledError(f"--executor slurm needs submitit: {install('cluster')}") from error
        try:
            there = RunFolder(folder.path.resolve())
            python = f"{shlex.quote(sys.executable)} -P"  # as `start_worker` does it
            executor = SlurmExecutor(there.pickles, max_num_timeout=_RESTARTS, python=python)
            executor.update_parameters(**options)
            with _outside_of_jobs():
                jobs = executor.submit_array([Task(there, unit, self.arguments) for unit in units])
        except (
            FailedJobError,
            RuntimeError,
        ) as error:  # the latter where there is no sbatch, or no number in its answer
            said = next((line for line in reversed(str(error).splitlines()) if line.strip()), "no message")
            if queue.places(queue.submissions(folder)) is None:
                return None
            raise RunDirectoryError(f"Slurm refused the jobs: {said}\nchange the options and run it again") from error
        return str(jobs[0].job_id).split("_")[0]

    def _parameters(self, name: str, threads: int, device: str, after: str) -> dict[str, Any]:
        """What submitit is told; the step of a job does not inherit its processors (Slurm since 22.05)."""
        gpus = self.gpus if self.gpus is not None else int(device != "cpu")
        more: dict[str, Any] = {"requeue": True, **self.more}
        if after:
            more |= {"dependency": f"afterok:{after}", "kill-on-invalid-dep": "yes"}
        return {
            "job_name": name,
            "time": self.minutes,
            "signal_delay_s": min(300, 15 * self.minutes),
            "partition": self.partition,
            "account": self.account,
            "mem": self.memory,
            "gpus_per_node": gpus or None,
            "cpus_per_task": threads,
            "srun_args": [f"--cpus-per-task={threads}"],
            "array_parallelism": self.jobs or _LARGEST,
            "stderr_to_stdout": True,
            "additional_parameters": more,
        }


@contextmanager
def _outside_of_jobs() -> Iterator[None]:
    """What is submitted from within a job does not inherit what that job asked for."""
    from submitit.helpers import clean_env

    configuration = {key: os.environ[key] for key in ("SLURM_CONF",) if key in os.environ}
    with clean_env() if "SLURM_JOB_ID" in os.environ else nullcontext():
        os.environ |= configuration
        yield


def minutes(text: str) -> int:
    """A time limit as sbatch takes it: ``90``, ``90:30``, ``4:00:00``, ``2-12`` or ``2-12:30:00``; SpecError.

    >>> minutes("90"), minutes("4:00:00"), minutes("2-12"), minutes("0:30")
    (90, 240, 3600, 1)
    """
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    if found is None:
        raise SpecError(f"--time: expected minutes, HH:MM:SS or D-HH:MM:SS, got {text!r}")
    days, *rest = [None if part is None else int(part) for part in found.groups()]
    units = (60, 1, 0) if days is None and rest[2] is None else (3600, 60, 1)
    seconds = 86400 * (days or 0) + sum(unit * (part or 0) for unit, part in zip(units, rest, strict=True))
    return -(-seconds // 60)


def _parts(units: Sequence[Unit]) -> Iterator[Sequence[Unit]]:
    for start in range(0, len(units), _LARGEST):
        yield units[start : start + _LARGEST]


def _pause(seconds: float, outcome: Outcome, tick: Tick, there: Mapping[str, Place]) -> None:
    until = time.monotonic() + seconds
    tick(outcome, there)
    while time.monotonic() < until and not outcome.stopped:
        time.sleep(0.2)
        tick(outcome, there)
