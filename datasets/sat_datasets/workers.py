"""Worker processes that decode images a few batches ahead.

They are programs of their own (`decoder.py`), not started by `multiprocessing`, which would run the user's main module
again in each of them: that fails in scripts without a ``__main__`` guard, on stdin and in notebooks.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast, final

import numpy as np

from sat_core.errors import DataError, SpecError, quoted
from sat_datasets.decode import TASKS
from sat_datasets.messages import receive, send

AHEAD = 2
"""Tasks that each worker process may be ahead."""
PATIENCE = 10.0
"""Seconds that a worker has to end after it closed its output."""
Task = tuple[str, dict[str, Any], np.ndarray | None]
"""A name in `sat_datasets.decode.TASKS`, arguments that JSON can hold, and an array or None."""
_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
_IDLE: dict[int, list[_Worker]] = {}
"""Workers that wait for the next task, by the process that started them: a fork must not use them."""


def ordered(tasks: Iterable[Task]) -> Iterator[Any]:
    """The result of each task, in that order, computed by as many processes as `count` says.

    `tasks` is read a few ahead. Workers are kept for the next call. Raises DataError where a task does, and where a
    worker cannot be started or ends before its answer.
    """
    workers = count()
    if not workers:
        yield from (TASKS[name](array=array, **arguments) for name, arguments, array in tasks)
        return
    pool = ThreadPoolExecutor(workers)
    waiting: deque[Future[Any]] = deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(_done, task))
            if len(waiting) > AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def count() -> int:
    """How many processes decode: SAT_WORKERS, by default one per core that is ours, at most 8; 0 is this process."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("SAT_WORKERS") or str(min(8, cores))
    if not asked.isdecimal():
        raise SpecError(f"SAT_WORKERS: expected a count of processes that decode images, got {quoted(asked)}")
    return int(asked)


def _done(task: Task) -> Any:
    idle = _IDLE.setdefault(os.getpid(), [])
    try:
        worker = idle.pop()
    except IndexError:
        worker = _Worker()
    if not worker.alive():
        worker = _Worker()
    try:
        return worker.ask(task)
    finally:
        if worker.alive():
            idle.append(worker)


@final
class _Worker:
    """One process. It ends when its stdin does, and so with this process, however that ends."""

    def __init__(self) -> None:
        path = [os.path.abspath(entry) for entry in sys.path]
        command = [sys.executable, "-P", str(Path(__file__).with_name("decoder.py")), json.dumps(path)]
        # Signals stay blocked in the child: a stop concerns the process that trains, and its workers end with it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        except (OSError, ValueError) as error:
            raise _not_started(str(error)) from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._requests, self._answers = cast(IO[bytes], self._process.stdin), cast(IO[bytes], self._process.stdout)
        if self._receive() is None:
            raise _not_started(_told(self._status()))

    def alive(self) -> bool:
        """Whether it can do another task; what is left of one that has ended is released."""
        if self._process.poll() is not None:
            self.end()
        return self._process.returncode is None

    def ask(self, task: Task) -> Any:
        """The result of one task; DataError if it has none, or the process has ended."""
        name, arguments, array = task
        with suppress(OSError):  # it has ended, as its missing answer says
            send(self._requests, {"task": name, "arguments": arguments}, array)
        answer = self._receive()
        if answer is None:
            raise _ended(self._status())
        about, result = answer
        if "error" in about:
            raise DataError(about["error"])
        return about.get("result", result)

    def end(self) -> None:
        """Kill it; it has nothing to save."""
        self._process.kill()
        self._process.wait()
        self._answers.close()
        with suppress(OSError):  # of what it has not read
            self._requests.close()

    def _receive(self) -> Any:
        try:
            return receive(self._answers)
        except BaseException:
            self.end()
            raise

    def _status(self) -> int:
        """How it ended; one that closed its output and goes on is killed."""
        try:
            return self._process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            return 0
        finally:
            self.end()


def _not_started(why: str) -> DataError:
    return DataError(
        f"a process that decodes images could not be started ({why}; more may stand on stderr)\n"
        "SAT_WORKERS=0 decodes in this process instead"
    )


def _ended(status: int) -> DataError:
    if status == -signal.SIGKILL:
        return DataError(
            "a process that decodes images was killed (SIGKILL), most likely for want of memory\n"
            "set SAT_WORKERS to fewer; the same command goes on where it stopped"
        )
    return DataError(
        f"a process that decodes images crashed ({_told(status)}; more may stand on stderr)\n"
        "`sat data verify` with SAT_WORKERS=1 looks for a file that causes it"
    )


def _told(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"


@atexit.register
def _end_all() -> None:
    for worker in _IDLE.get(os.getpid(), []):
        worker.end()
