"""The process that runs one unit: how it is started, and what its exit status means. The same on all executors."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from sat_core.errors import EXIT_CONTINUE
from sat_core.run_folder import RunFolder
from sat_core.unit_folder import UnitFolder
from sat_evaluation.run.executors.base import Unit

WORKER_STOPS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""Signals on which a worker saves and ends. Slurm sends them to every process of a job."""
STOPPED = (EXIT_CONTINUE, *(-number for number in WORKER_STOPS))
"""Exit statuses of a worker that was told to stop; the negative ones if it had not installed its handlers yet."""
EXIT_FULL = 74
"""Exit status of a worker on a full disk, which can write no reason to its log either (EX_IOERR in sysexits.h)."""
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
PARENT = "SAT_PARENT"
"""Environment variable with the worker's parent: os.getppid() may already return the next one."""
NO_ROOM = "no space left on the disk; make room"
RANKING_FAILED = "not run: the ranking failed"


class Worker(Protocol):
    """The process of a unit, as `subprocess.Popen` has it."""

    returncode: int | None

    def poll(self) -> int | None:
        """Return its exit status once it has ended, minus the number of a signal that ended it; else None."""

    def terminate(self) -> None:
        """Tell it to save and end; may be called again."""


Start = Callable[[RunFolder, Unit, Sequence[str], Mapping[str, str]], Worker]
"""As `start_worker`."""


def environment_of(threads: int, more: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process with so many threads, a child of this one, with `more` in it."""
    # libraries read these once, as they are loaded; without them each unit would start a thread per core
    counts = {f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "MKL", "OPENBLAS")}
    return {**os.environ, **counts, **more, PARENT: str(os.getpid())}


def start_worker(
    folder: RunFolder, unit: Unit, arguments: Sequence[str], environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start the process of a unit.

    Args:
        folder: Of the run.
        unit: What it runs.
        arguments: `Executor.arguments`.
        environment: Is added to that of this process.

    Raises:
        OSError: Its log cannot be written.
    """
    # -P: no file of the working directory stands in for a module that the worker imports
    command = [sys.executable, "-P", "-m", "sat_evaluation.run.worker", str(folder), unit.name, *arguments]
    with folder.unit(unit.name).new_log() as log:
        # a group of its own: Ctrl-C reaches the workers as the stop that the study forwards, not as an interrupt
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment_of(unit.threads, environment),
            process_group=0,
        )


def record_end(unit: UnitFolder, status: int) -> str:
    """Return in a line why a worker that ended with `status` failed, and leave it in the unit's folder."""
    if status == EXIT_FULL:
        reason = NO_ROOM
    elif status == -signal.SIGKILL:
        reason = "ended by SIGKILL, as the system does it when memory is short"
    elif status < 0:
        reason = f"ended by {signal.Signals(-status).name}"
    else:
        # workers print the reason last, see `sat_evaluation.run.worker.main`
        reason = next(iter(unit.log_end(1)), "no message")
    return unit.record_failure(reason)


def not_started(unit: UnitFolder, error: OSError) -> str:
    """Return in a line why a worker could not be started."""
    return f"{unit}: {NO_ROOM if error.errno in DISK_FULL else f'cannot be written ({error.strerror})'}"
