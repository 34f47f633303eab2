"""A job of Slurm: runs one unit, and is requeued when it reaches its time limit or is preempted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import attrs

from sat_core.errors import EXIT_CONTINUE, RunDirectoryError
from sat_core.run_folder import RunFolder
from sat_evaluation.run.executors.base import Unit
from sat_evaluation.run.executors.nodes import REASON, export_rank, failure_of_others, rank_failure, wait_for_end
from sat_evaluation.run.executors.processes import EXIT_PEER, STOPPED, WORKER_STOPS, record_end, start_worker

if TYPE_CHECKING:
    from submitit import JobEnvironment


@final
@attrs.frozen
class Task:
    """Runs a unit in a process of its own, so that whatever ends that process does not end this one.

    In a job with several tasks, each runs one rank of the unit (`sat_evaluation.run.executors.nodes`).

    arguments: see `sat_evaluation.run.executors.base.Executor`.
    """

    folder: RunFolder
    unit: Unit
    arguments: tuple[str, ...]

    def __call__(self) -> None:
        """Run the unit, or a rank of it.

        Raises:
            RunDirectoryError: It failed, for this reason; Slurm then counts the job as failed.
        """
        from submitit import JobEnvironment

        # users can choose another signal for submitit by SUBMITIT_PREEMPT_SIGNAL
        number = getattr(signal, f"SIG{JobEnvironment.USR_SIG}")
        requeue: Any = signal.getsignal(number)  # submitit's: saves this task as `checkpoint` has it, and requeues
        # submitit's handler requeues at once, before the worker has saved: it is called below, by hand
        stops: list[bool] = []
        for stop in WORKER_STOPS:
            signal.signal(stop, lambda *_: stops.append(True))
        job = JobEnvironment()
        export_rank(job)
        if job.global_rank > 0:
            self._follow(job, stops)
            return
        status, unit = self._run(stops), self.folder.unit(self.unit.name)
        if status == EXIT_PEER:
            wait_for_end(stops)
        if status and job.num_tasks > 1 and (reason := failure_of_others(unit)):
            raise RunDirectoryError(reason)
        if status in STOPPED:
            if _is_wanted(job.job_id):
                requeue(number, None)
            # not 0: else arms that depend on this ranking (afterok) would start
            sys.exit(EXIT_CONTINUE)
        if status == EXIT_PEER and not _is_wanted(job.job_id):
            sys.exit(EXIT_CONTINUE)
        if status:
            raise RunDirectoryError(record_end(unit, status))

    def _follow(self, job: JobEnvironment, stops: Sequence[object]) -> None:
        """Run another rank than the first, which alone writes to the folder of the unit and requeues the job."""
        unit = self.folder.unit(self.unit.name)
        with tempfile.TemporaryDirectory(prefix="sat-rank-") as folder:
            reason = Path(folder, "reason.json")
            status = self._run(stops, log=False, **{REASON: str(reason)})
            if status == EXIT_PEER:
                wait_for_end(stops)
            # what breaks as a process ends breaks nothing
            elif status and status not in STOPPED and not unit.is_finished and not failure_of_others(unit):
                unit.record_failure(rank_failure(job, status, reason))
        # told to stop, it has done so; but one that was ended before it could know takes the others with it
        if status not in (0, EXIT_CONTINUE):
            sys.exit(max(status, 1))

    def _run(self, stops: Sequence[object], *, log: bool = True, **environment: str) -> int:
        """Run the worker, passing stops on, and return its exit status."""
        environment["SAT_WORKERS"] = os.environ.get("SAT_WORKERS") or str(self.unit.threads)
        worker = start_worker(self.folder, self.unit, self.arguments, environment, log=log)
        while (status := worker.poll()) is None:
            if stops:
                worker.terminate()
            time.sleep(0.2)
        return status

    def checkpoint(self) -> Any:
        """Return what submitit runs when the job starts again: the same, which continues from the unit's folder."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _is_wanted(job: str) -> bool:
    """Return whether the job is to be requeued: not if it was cancelled, or Slurm requeues it by itself.

    job: as ``7_2`` in an array; SLURM_JOB_ID of its last job is that of the whole array.
    """
    command = ["squeue", "--noheader", "--job", job, "--format", "%T"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # without an answer it is requeued: better a start too many than a unit that is lost
    return done.returncode != 0 or done.stdout.strip() == "RUNNING"
