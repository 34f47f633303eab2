"""Worker processes that decode images a few batches ahead.

They run a program of their own (`decoder.py`). `multiprocessing` would import the user's main module again in each of
them, which fails in scripts without an `if __name__ == "__main__"` guard, on stdin and in notebooks.
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
"""Tasks per worker that may be done before their results are used; more would fill the memory with batches.
"""
PATIENCE = 10.0
"""Seconds that a worker may take to end after it closed its output."""
Task = tuple[str, dict[str, Any], np.ndarray | None]
"""A name in `sat_datasets.decode.TASKS`, arguments that JSON can hold, and an array or None."""
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
_IDLE: dict[int, list[_Worker]] = {}
"""Workers without a task, by the id of the process that started them: after a fork, the child must not use them."""


def ordered(tasks: Iterable[Task]) -> Iterator[Any]:
    """Do tasks in worker processes and yield their results in the order of the tasks.

    Workers stay for the next call; `close` ends them.

    Args:
        tasks: Read a few ahead of the results.

    Raises:
        DataError: A task raises it; or a worker cannot be started, or ends before it has answered.
    """
    workers = count()
    if not workers:
        yield from (TASKS[name](array=array, **arguments) for name, arguments, array in tasks)
        return
    pool = ThreadPoolExecutor(workers)  # a thread per worker, which waits for it
    waiting: deque[Future[Any]] = deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(_do, task))
            if len(waiting) > AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # Where the caller stops early, tasks that have not begun are dropped.
        pool.shutdown(cancel_futures=True)


def count() -> int:
    """Return the number of worker processes; with 0, this process decodes itself.

    It is $SAT_WORKERS, by default one per core that this process may use, at most 8.

    Raises:
        SpecError: SAT_WORKERS is no count.
    """
    # Not all cores of the machine: a job of Slurm has some of them only.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # torchrun says how many ranks there are on this machine: each has its part of the cores.
    cores = max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE") or 1))
    setting = os.environ.get("SAT_WORKERS") or str(min(8, cores))
    if not setting.isdecimal():
        raise SpecError(f"SAT_WORKERS: expected a count of processes that decode images, got {quoted(setting)}")
    return int(setting)


@atexit.register
def close() -> None:
    """End the worker processes that have no task, which frees their memory; the next call starts new ones."""
    for worker in _IDLE.pop(os.getpid(), []):
        worker.end()


def _do(task: Task) -> Any:
    idle = _IDLE.setdefault(os.getpid(), [])
    try:
        # Not "if idle" first: another thread could take the last one in between.
        worker = idle.pop()
    except IndexError:
        worker = _Worker()
    if not worker.alive():
        worker = _Worker()
    try:
        return worker.ask(task)
    finally:
        # Also after a DataError: a broken file is the task's fault, not the worker's.
        if worker.alive():
            idle.append(worker)


@final
class _Worker:
    """A worker process. It ends when its stdin is closed, and so with this process, however that ends."""

    def __init__(self) -> None:
        path = [os.path.abspath(entry) for entry in sys.path]
        # -P: the folder of decoder.py stays off the path, where our modules could shadow standard ones.
        command = [sys.executable, "-P", str(Path(__file__).with_name("decoder.py")), json.dumps(path)]
        # A child inherits blocked signals. Ctrl-C reaches the whole process group, but only the process that trains
        # should stop, at its next checkpoint; until then it needs its workers.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        except (OSError, ValueError) as error:
            raise _not_started(str(error)) from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._requests, self._answers = cast(IO[bytes], self._process.stdin), cast(IO[bytes], self._process.stdout)
        if self._receive() is None:
            raise _not_started(_status_text(self._exit_status()))

    def alive(self) -> bool:
        """Return whether it runs; of one that has ended, release the pipes."""
        if self._process.poll() is not None:
            self.end()
        return self._process.returncode is None

    def ask(self, task: Task) -> Any:
        """Return the result of a task.

        Raises:
            DataError: The task has failed, or the process has ended.
        """
        name, arguments, array = task
        with suppress(OSError):  # the process has ended: the missing answer shows it, with the status
            send(self._requests, {"task": name, "arguments": arguments}, array)
        answer = self._receive()
        if answer is None:
            raise _ended(self._exit_status())
        header, result = answer
        if "error" in header:
            raise DataError(header["error"])
        return header.get("result", result)

    def end(self) -> None:
        """Kill the process, which has nothing to save."""
        self._process.kill()
        self._process.wait()
        self._answers.close()
        with suppress(OSError):  # closing flushes a task that the process has not read
            self._requests.close()

    def _receive(self) -> Any:
        try:
            return receive(self._answers)
        except BaseException:
            self.end()
            raise

    def _exit_status(self) -> int:
        """Wait for the end of a process that has closed its output; one that goes on is killed."""
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
        f"a process that decodes images crashed ({_status_text(status)}; more may stand on stderr)\n"
        "`sat data verify` with SAT_WORKERS=1 looks for a file that causes it"
    )


def _status_text(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"
