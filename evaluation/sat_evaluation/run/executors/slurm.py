"""Runs units as jobs of Slurm, submitted by submitit. Jobs that are queued or running are not submitted again."""

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
from sat_evaluation.run.executors.nodes import SRUN
from sat_evaluation.run.executors.processes import RANKING_FAILED
from sat_evaluation.run.executors.queue import Submission
from sat_evaluation.run.executors.sbatch import check_line, check_option, check_path, own_folder
from sat_evaluation.run.executors.task import Task

_STAYS = "the jobs stay in the queue: the same command waits for them again, scancel ends them"
_SILENT = "Slurm's controller does not answer; waiting for it"
_GONE = "cancelled, over its memory or its time, its node failed, or the disk is full"
_POLL = 5.0
"""Seconds between two calls of squeue."""
_LOOKS = 3
"""How often a unit may be missing in the queue and not finished before it has failed: shared disks lag behind."""
_LARGEST = 1000
"""Jobs of one array; Slurm's default for MaxArraySize is 1001."""
_RESTARTS = 1000
"""How often a job may reach its time limit; it is requeued each time."""


@final
@attrs.frozen(kw_only=True)
class Slurm(Executor):
    """Jobs of a cluster whose machines share the study's folder.

    Args:
        jobs: Of one job array at a time.
        partition, account, memory: As for sbatch; the memory is that of each node.
        minutes: Time limit of a job. A job that reaches it is requeued, and continues.
        gpus: On each node of a job; None for `devices` if the device is a GPU.
        more: Other options of sbatch and their values; True for an option without a value.
        detach: Whether to raise Detached once all jobs are in the queue, without waiting for them.

    Raises:
        SpecError: An option is wrong.
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
        # 0: they are asked for by another option, such as --slurm gres=gpu:a100:1
        if self.gpus not in (None, 0, self.devices):
            raise SpecError(
                f"--gpus: expected {self.devices}, as many as are used on each node (--devices), or 0, got {self.gpus}"
            )
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
        """See `Executor`. A stop ends the waiting, not the jobs. RunDirectoryError if Slurm refuses one."""
        if self.gpus and device == "cpu":
            raise SpecError(f"--gpus: expected none with --device cpu, which uses none, got {self.gpus}")
        outcome = Outcome()
        with stop_signals(outcome, _STAYS):
            self._submit_missing(folder, units, device, outcome, tick)
            if self.detach and not outcome.stopped:
                jobs, them = (f"{len(units)} jobs", "them") if len(units) > 1 else ("1 job", "it")
                raise Detached(f"{jobs} in the queue; the same command waits for {them} and sums up")
            self._wait(folder, units, outcome, tick)
        return outcome

    def _answer(self, folder: RunFolder, outcome: Outcome, tick: Tick) -> dict[str, Place]:
        """Ask squeue until it answers; returns nothing if a stop is requested meanwhile."""
        while not outcome.stopped:
            places = queue.places(queue.submissions(folder))
            outcome.notice = _SILENT if places is None else ""
            if places is not None:
                return places
            _pause(_POLL, outcome, tick, {})
        return {}

    def _wait(self, folder: RunFolder, units: Sequence[Unit], outcome: Outcome, tick: Tick) -> None:
        left = {unit.name: unit for unit in units}
        looks, last = dict.fromkeys(left, 0), dict.fromkeys(left, "its job")
        while left and not outcome.stopped:
            places = self._answer(folder, outcome, tick)
            last |= {name: place.job for name, place in places.items()}
            # after a stop `_answer` returns nothing, which does not mean that units are missing
            for name in [] if outcome.stopped else list(left):
                looks[name] = 0 if name in places else looks[name] + 1
                unit = folder.unit(name)
                # the unit's files decide: Slurm forgets a job soon after its end, and not every cluster keeps accounts
                if unit.is_finished:
                    outcome.done.append(name)
                elif reason := unit.failure():
                    outcome.failed[name] = f"{reason} (see {unit.log_file})"
                elif looks[name] == _LOOKS:
                    # Slurm itself removes jobs whose dependency can no longer be met (kill-on-invalid-dep)
                    needless = left[name].after_ranking and RANKING in outcome.failed
                    reason = RANKING_FAILED if needless else f"{last[name]} left the queue: {_GONE}"
                    outcome.failed[name] = unit.record_failure(reason)
                else:
                    continue
                del left[name]
            _pause(_POLL if left else 0, outcome, tick, places)

    def _submit_missing(
        self, folder: RunFolder, units: Sequence[Unit], device: str, outcome: Outcome, tick: Tick
    ) -> None:
        """Submit the ranking, then job arrays of arms with the same resources; none that is in the queue already."""
        places = self._answer(folder, outcome, tick)
        if outcome.stopped:
            return
        own_folder(folder.queue)
        own_folder(folder.pickles, 0o700)
        # a submission of which no job is left is forgotten
        submissions = [each for each in queue.submissions(folder) if any(unit in places for unit in each.units)]
        # a unit that failed is submitted again, even while squeue still lists its last job
        missing = [unit for unit in units if unit.name not in places or folder.unit(unit.name).failure()]
        for unit in missing:
            folder.unit(unit.name).forget_failure()
        # new arms can depend on a ranking that an earlier command submitted
        ranking = places[RANKING].job if RANKING in places else ""

        def kind(unit: Unit) -> tuple[bool, bool, int]:
            # False sorts first: the ranking, whose number the arms need. Within a kind the order stays, longest first
            return unit.name != RANKING, unit.after_ranking, unit.threads

        for (_, needs_ranking, _), alike in groupby(sorted(missing, key=kind), key=kind):
            for array in _parts(list(alike)):
                # unique, and without commas and |, which separate names in squeue's arguments and fields in its answer
                name = f"sat-{re.sub('[^A-Za-z0-9_.-]', '_', folder.path.resolve().name)}-{uuid4().hex[:8]}"
                submissions.append(Submission(name, tuple(unit.name for unit in array)))
                # before sbatch: if this process dies in between, the jobs are found by name
                queue.record(folder, submissions)
                options = self._parameters(name, array[0].threads, device, ranking if needs_ranking else "")
                job = None
                while job is None and not outcome.stopped:
                    job = self._submit(folder, array, options)
                    # it may have been accepted nevertheless: two jobs of one unit would get in each other's way
                    if job is None:
                        self._answer(folder, outcome, tick)
                        subprocess.run(["scancel", "--name", name], check=False, capture_output=True)
                if job and array[0].name == RANKING:
                    ranking = job

    def _submit(self, folder: RunFolder, units: Sequence[Unit], options: Mapping[str, Any]) -> str | None:
        """Submit one array; returns its number, or None if the controller does not answer.

        Raises:
            RunDirectoryError: Slurm refused it.
        """
        try:
            from submitit import SlurmExecutor
            from submitit.core.utils import FailedJobError
        except ImportError as error:
            raise NotInstalledError(f"--executor slurm needs submitit: {install('cluster')}") from error
        try:
            # it is pickled, and read where the working directory may be another
            absolute = attrs.evolve(folder, path=folder.path.resolve())
            python = f"{shlex.quote(sys.executable)} -P"  # as `start_worker` does it
            executor = SlurmExecutor(absolute.pickles, max_num_timeout=_RESTARTS, python=python)
            executor.update_parameters(**options)
            with _outside_of_jobs():
                jobs = executor.submit_array([Task(absolute, unit, self.arguments) for unit in units])
        # RuntimeError: there is no sbatch, or no number in its answer
        except (FailedJobError, RuntimeError) as error:
            # an error of submitit holds all that sbatch printed; the reason is last
            message = next((line for line in reversed(str(error).splitlines()) if line.strip()), "no message")
            # if squeue does not answer either, the controller is away and has refused nothing
            if queue.places(queue.submissions(folder)) is None:
                return None
            raise RunDirectoryError(
                f"Slurm refused the jobs: {message}\nchange the options and run it again"
            ) from error
        # 7 of 7_0: jobs depend on the array as a whole
        return str(jobs[0].job_id).split("_")[0]

    def _parameters(self, name: str, threads: int, device: str, after: str) -> dict[str, Any]:
        """Return the parameters of submitit. Since Slurm 22.05 srun does not inherit the processors of its job."""
        gpus = self.gpus if self.gpus is not None else self.devices * (device != "cpu")
        more: dict[str, Any] = {"requeue": True, **self.more}
        if after:
            # without kill-on-invalid-dep, arms of a ranking that failed would stay in the queue for ever
            more |= {"dependency": f"afterok:{after}", "kill-on-invalid-dep": "yes"}
        tasks = {"nodes": self.nodes, "ntasks_per_node": self.devices} if self.ranks > 1 else {}
        return {
            **tasks,
            "job_name": name,
            "time": self.minutes,
            # seconds for saving before the limit: five minutes, or a quarter of a limit below 20 minutes
            "signal_delay_s": min(300, 15 * self.minutes),
            "partition": self.partition,
            "account": self.account,
            "mem": self.memory,
            "gpus_per_node": gpus or None,
            "cpus_per_task": threads,
            "srun_args": [f"--cpus-per-task={threads}", *(SRUN if tasks else ())],
            # submitit's default would run no more than 256 at a time
            "array_parallelism": self.jobs or _LARGEST,
            "stderr_to_stdout": True,
            "additional_parameters": more,
        }


@contextmanager
def _outside_of_jobs() -> Iterator[None]:
    """Remove Slurm's variables inside, so that jobs submitted from within a job do not inherit its resources."""
    from submitit.helpers import clean_env

    # `clean_env` takes all SLURM_* variables; by this one sbatch may find its controller
    configuration = {key: os.environ[key] for key in ("SLURM_CONF",) if key in os.environ}
    with clean_env() if "SLURM_JOB_ID" in os.environ else nullcontext():
        os.environ |= configuration
        yield


def minutes(text: str) -> int:
    """Return the minutes of a time limit in one of sbatch's formats, rounded up; SpecError if it has none of them.

    >>> minutes("90"), minutes("4:00:00"), minutes("2-12"), minutes("0:30")
    (90, 240, 3600, 1)
    """
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    if match is None:
        raise SpecError(f"--time: expected minutes, HH:MM:SS or D-HH:MM:SS, got {text!r}")
    days, *rest = [None if part is None else int(part) for part in match.groups()]
    # sbatch reads MM, MM:SS and HH:MM:SS, but with days D-HH, D-HH:MM and D-HH:MM:SS
    units = (60, 1, 0) if days is None and rest[2] is None else (3600, 60, 1)
    seconds = 86400 * (days or 0) + sum(unit * (part or 0) for unit, part in zip(units, rest, strict=True))
    return -(-seconds // 60)


def _parts(units: Sequence[Unit]) -> Iterator[Sequence[Unit]]:
    for start in range(0, len(units), _LARGEST):
        yield units[start : start + _LARGEST]


def _pause(seconds: float, outcome: Outcome, tick: Tick, places: Mapping[str, Place]) -> None:
    until = time.monotonic() + seconds
    tick(outcome, places)
    # in small steps: a signal does not cut a sleep short (PEP 475)
    while time.monotonic() < until and not outcome.stopped:
        time.sleep(0.2)
        tick(outcome, places)
