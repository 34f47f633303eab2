"""Forks the workers of a study: ``python -m sat_evaluation.run.fork_server``, started by `ForkServer`.

It imports what units need, once, and forks a process for each unit: each is as new as one that has just imported
everything. It computes nothing itself, since a process that has computed cannot be forked safely.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
from typing import Any

from sat_core.backend import BACKENDS
from sat_core.evaluator import get_evaluator
from sat_core.run_folder import RunFolder
from sat_evaluation.attack.package import find_package
from sat_evaluation.run import worker
from sat_evaluation.run.executors.processes import WORKER_STOPS
from sat_evaluation.run.parent import PARENT

_SIGNALS = (*WORKER_STOPS, signal.SIGINT)
_PAUSE = 0.05
"""Seconds between two looks at whether a worker has ended."""


def main() -> int:
    """Fork workers for requests from the socket on the command line, until its other end is closed.

    Returns:
        Exit status; in a worker, that of its unit (`sat_evaluation.run.worker.main`).
    """
    folder, descriptor = sys.argv[1:]
    # Slurm sends them to every process of a job: the workers need this one until they have saved
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    channel = socket.socket(fileno=int(descriptor))
    channel.set_inheritable(False)
    preload(RunFolder(folder))
    # what another thread has locked would stay locked in a fork for ever
    if len(os.listdir("/proc/self/task")) > 1:
        return 1  # without an answer, units get processes of their own
    # the garbage collector writes to all objects that it looks at, and so would make every worker copy them
    gc.collect()
    gc.freeze()
    _answer(channel, ready=True)
    parent = int(os.environ[PARENT])
    workers: dict[int, int] = {}
    while os.getppid() == parent:
        if select.select([channel], [], [], _PAUSE)[0]:
            content, descriptors, _, _ = socket.recv_fds(channel, 65536, 1)
            if not content:
                break
            request = json.loads(content)
            if not descriptors:
                _stop(workers, request["unit"])
            elif (process := _fork(channel, request)) == 0:
                channel.close()
                return _run_unit(request, *descriptors)
            elif process is not None:
                workers[process] = request["unit"]
            for log in descriptors:
                os.close(log)
        for process in list(workers):
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                _answer(channel, unit=workers.pop(process), status=os.waitstatus_to_exitcode(status))
    return 0


def preload(folder: RunFolder) -> None:
    """Import what the units of a run need."""
    _, run = folder.read_spec()
    # not `get_backend`: to make one looks for devices. One that is made by a function has nothing to import
    getattr(BACKENDS.get(run["backend"]), "preload", lambda: None)()
    get_evaluator()
    find_package()


def _fork(channel: socket.socket, request: dict[str, Any]) -> int | None:
    try:
        return os.fork()
    except OSError:
        _answer(channel, unit=request["unit"], status=None)
        return None


def _stop(workers: dict[int, int], unit: int) -> None:
    # here, and not by whoever wants it: the number of a process that has ended may be another's
    for process in [process for process, number in workers.items() if number == unit]:
        os.kill(process, signal.SIGTERM)


def _answer(channel: socket.socket, **answer: Any) -> None:
    channel.send(json.dumps(answer).encode())


def _run_unit(request: dict[str, Any], log: int) -> int:
    """Be the worker of a unit, as if this process had been started for it; returns its exit status."""
    os.setpgid(0, 0)
    for number in _SIGNALS:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    os.environ[PARENT] = str(os.getppid())
    try:
        return worker.run_request(request, log)
    finally:
        # else libraries find objects of theirs at exit, and print that in the log, after the reason of a failure
        gc.unfreeze()


if __name__ == "__main__":
    sys.exit(main())
