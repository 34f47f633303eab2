"""The process that runs one unit: how it is started, and what its end says. The same on every executor."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from sat_core import files
from sat_core.errors import EXIT_CONTINUE, RunDirectoryError, printable
from sat_evaluation.run.executors.base import Unit
from sat_evaluation.run.folder import FAILED, LOG, unit_directory

WORKER_STOPS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""Signals on which a worker saves and ends. Slurm sends them to every process of a job."""
STOPPED = (EXIT_CONTINUE, *(-number for number in WORKER_STOPS))
"""Exit statuses of a worker that was asked to stop; the negative ones from before it could listen."""
EXIT_FULL = 74
"""Exit status of a worker for which there was no space on the disk, its log included (sysexits' EX_IOERR)."""
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
PARENT = "SAT_PARENT"
"""Variable with the process that a worker ends with; who asks the system may hear of the next one already."""
NO_ROOM = "no space left on the disk; make room"
RANKING_FAILED = "not run: the ranking failed"
_START = "# started "
_TAIL = 8192


def start_worker(
    out: Path, unit: Unit, arguments: Sequence[str], environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start `unit` with its threads. arguments: the executor's. environment: is added to this process's.

    OSError if its log cannot be written.
    """
    directory = unit_directory(out, unit.name)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / FAILED).unlink(missing_ok=True)
    threads = {f"{library}_NUM_THREADS": str(unit.threads) for library in ("OMP", "MKL", "OPENBLAS")}
    # -P: no file of the working directory stands in for a module that the worker imports
    command = [sys.executable, "-P", "-m", "sat_evaluation.run.worker", str(out), unit.name, *arguments]
    with (directory / LOG).open("ab") as log:
        log.write(f"{_START}{time.strftime('%Y-%m-%d %H:%M:%S')} on {socket.gethostname()}\n".encode())
        log.flush()
        # a group of its own: Ctrl-C reaches the workers as the stop that the study forwards, not as an interrupt
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **threads, **environment, PARENT: str(os.getpid())},
            process_group=0,
        )


def failure(out: Path, name: str, status: int) -> str:
    """Why a worker that ended with `status` failed, in a line; kept in the unit's folder."""
    if status == EXIT_FULL:
        reason = NO_ROOM
    elif status == -signal.SIGKILL:
        reason = "ended by SIGKILL, as the system does it when memory is short"
    elif status < 0:
        reason = f"ended by {signal.Signals(-status).name}"
    else:
        reason = next(iter(log_end(out, name, 1)), "no message")
    return record_failure(out, name, reason)


def not_started(out: Path, name: str, error: OSError) -> str:
    """Why a worker could not be started, in a line."""
    folder = unit_directory(out, name)
    return f"{folder}: {NO_ROOM if error.errno in DISK_FULL else f'cannot be written ({error.strerror})'}"


def record_failure(out: Path, name: str, reason: str) -> str:
    """Keep `reason` in the unit's folder, if the disk takes it; returns it."""
    with suppress(RunDirectoryError):
        files.write_json(unit_directory(out, name) / FAILED, {"reason": reason})
    return reason


def recorded_failure(out: Path, name: str) -> str:
    """Why the unit failed when it was last run; empty if it did not."""
    try:
        return printable(str(json.loads((unit_directory(out, name) / FAILED).read_text())["reason"]))
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, LookupError, TypeError):
        return f"{FAILED} cannot be read"


def log_end(out: Path, name: str, count: int = 3) -> list[str]:
    """The last lines that the unit's last process wrote, empty ones left out."""
    try:
        with (unit_directory(out, name) / LOG).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    since = text.rpartition(_START)[2].splitlines()[1:] if _START in text else text.splitlines()
    return [printable(line, keep="\t") for line in since if line.strip()][-count:]
