"""The process that runs one unit: how it is started, and what its exit status means. The same on all executors."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Protocol

from sat_core.errors import EXIT_CONTINUE
from sat_core.run_folder import RunFolder
from sat_core.unit_folder import UnitFolder
from sat_evaluation.run.executors.base import Executor, Unit
from sat_evaluation.run.parent import PARENT

WORKER_STOPS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""Signals on which a worker saves and ends. Slurm sends them to every process of a job."""
STOPPED = (EXIT_CONTINUE, *(-number for number in WORKER_STOPS))
"""Exit statuses of a worker that was told to stop; the negative ones if it had not installed its handlers yet."""
EXIT_FULL = 74
"""Exit status of a worker on a full disk, which can write no reason to its log either (EX_IOERR in sysexits.h)."""
EXIT_PEER = 76
"""Exit status of a rank that has ended because another one has: the reason is there (EX_PROTOCOL in sysexits.h)."""
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
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
    folder: RunFolder,
    unit: Unit,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    devices: int = 1,
    *,
    log: bool = True,
) -> subprocess.Popen[bytes]:
    """Start the process of a unit; with several devices one that starts a rank on each, and ends as they do.

    Args:
        folder: Of the run.
        unit: What it runs.
        arguments: `Executor.arguments`.
        environment: Is added to that of this process.
        devices: Of this machine, on which the unit runs.
        log: Whether it prints to the log of the unit; else where this process does.

    Raises:
        OSError: Its log cannot be written.
    """
    module = ["sat_evaluation.run.launch", str(devices)] if devices > 1 else ["sat_evaluation.run.worker"]
    # -P: no file of the working directory stands in for a module that the worker imports
    command = [sys.executable, "-P", "-m", *(unit.command or (*module, str(folder), unit.name, *arguments))]
    with folder.unit(unit.name).new_log() if log else nullcontext() as output:
        # a group of its own: Ctrl-C reaches the workers as the stop that the study forwards, not as an interrupt
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment_of(unit.threads, environment),
            process_group=0,
        )


def torchrun(executor: Executor, folder: RunFolder, unit: str) -> str:
    """Return the command that runs a unit on `executor.nodes` machines, to be started on each of them."""
    several = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "HOST:29500", "--rdzv-id", unit]
    ranks = ["--nnodes", str(executor.nodes), "--nproc-per-node", str(executor.devices)]
    worker = ["-m", "sat_evaluation.run.worker", str(folder.path.resolve()), unit, *executor.arguments]
    return shlex.join(["torchrun", *ranks, *(several if executor.nodes > 1 else ["--standalone"]), *worker])


def record_end(unit: UnitFolder, status: int) -> str:
    """Return in a line why a worker that ended with `status` failed, and leave it in the unit's folder."""
    if status == EXIT_FULL:
        reason = NO_ROOM
    elif status < 0:
        reason = ended_by(-status)
    else:
        # workers print the reason last, see `sat_evaluation.run.worker.main`
        reason = next(iter(unit.log_end(1)), "no message")
    return unit.record_failure(reason)


def ended_by(number: int) -> str:
    """Return in words that a signal has ended a process."""
    more = ", as the system does it when memory is short" if number == signal.SIGKILL else ""
    return f"ended by {signal.Signals(number).name}{more}"


def not_started(unit: UnitFolder, error: OSError) -> str:
    """Return in a line why a worker could not be started."""
    return f"{unit}: {NO_ROOM if error.errno in DISK_FULL else f'cannot be written ({error.strerror})'}"
