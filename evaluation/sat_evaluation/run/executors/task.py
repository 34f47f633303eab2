"""A job of Slurm: runs one unit, and is requeued when it reaches its time limit or is preempted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any, final

import attrs

from sat_core.errors import EXIT_CONTINUE, RunDirectoryError
from sat_core.run_folder import RunFolder
from sat_evaluation.run.executors.base import Unit
from sat_evaluation.run.executors.processes import STOPPED, WORKER_STOPS, record_end, start_worker


@final
@attrs.frozen
class Task:
    """Runs a unit in a process of its own, so that whatever ends that process does not end this one.

    arguments: see `sat_evaluation.run.executors.base.Executor`.
    """

    folder: RunFolder
    unit: Unit
    arguments: tuple[str, ...]

    def __call__(self) -> None:
        """Run the unit.

        Raises:
            RunDirectoryError: It failed, for this reason; Slurm then counts the job as failed.
        """
        from submitit import JobEnvironment

        # users can choose another signal for submitit by SUBMITIT_PREEMPT_SIGNAL
        number = getattr(signal, f"SIG{JobEnvironment.USR_SIG}")
        requeue: Any = signal.getsignal(number)  # submitit's: saves this task as `checkpoint` has it, and requeues
        # submitit's handler requeues at once, before the worker has saved: it is called below, by hand
        stops = []
        for stop in WORKER_STOPS:
            signal.signal(stop, lambda *_: stops.append(True))
        decoders = os.environ.get("SAT_WORKERS") or str(self.unit.threads)
        worker = start_worker(self.folder, self.unit, self.arguments, {"SAT_WORKERS": decoders})
        while worker.poll() is None:
            if stops:
                worker.terminate()
            time.sleep(0.2)
        if worker.returncode in STOPPED:
            if _is_wanted(JobEnvironment().job_id):
                requeue(number, None)
            # not 0: else arms that depend on this ranking (afterok) would start
            sys.exit(EXIT_CONTINUE)
        if worker.returncode:
            raise RunDirectoryError(record_end(self.folder.unit(self.unit.name), worker.returncode))

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
