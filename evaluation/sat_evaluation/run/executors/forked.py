"""Workers that are forked from one process, which has imported everything once: `sat_evaluation.run.fork_server`."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, final

from sat_core.run_folder import RunFolder
from sat_evaluation.run.executors.base import Unit
from sat_evaluation.run.executors.processes import (
    DISK_FULL,
    EXIT_FULL,
    Worker,
    environment_of,
    start_worker,
)


def can_fork(units: Sequence[Unit], device: str) -> bool:
    """Return whether workers of these units are better forked: where it is safe, and for more than one unit."""
    # After a process has looked for GPUs, as some imports do, its forks cannot use them. With more threads, libraries
    # start them as they are imported, and a fork has none of them. Apple's libraries do not bear forks at all.
    return sys.platform == "linux" and device == "cpu" and units[0].threads == 1 and len(units) > 1


@final
class ForkServer:
    """A process that forks workers. If it fails, or ends, its units get processes of their own from then on.

    Args:
        folder: Of the run.
        threads: Of each worker.
    """

    def __init__(self, folder: RunFolder, threads: int) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.setblocking(False)
        self._threads, self._ready, self.lost = threads, False, False
        self._units: list[_Forked] = []
        with theirs:
            program = [sys.executable, "-P", "-m", "sat_evaluation.run.fork_server", str(folder), str(theirs.fileno())]
            self._process = subprocess.Popen(
                program,
                # what an import prints is about no unit; one that fails does so again in a process of its own
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # some imports look for GPUs, after which no fork could use one
                env=environment_of(threads, {"CUDA_VISIBLE_DEVICES": ""}),
                pass_fds=[theirs.fileno()],
                process_group=0,
            )

    def __enter__(self) -> ForkServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the server, and with it workers that still run."""
        # it ends when it sees this; before its imports are done it looks at nothing
        self._channel.close()
        if not self._ready:
            self._process.kill()
        self._process.wait()

    def start(self, folder: RunFolder, unit: Unit, arguments: Sequence[str], environment: Mapping[str, str]) -> Worker:
        """Start the worker of a unit, as `start_worker`; OSError."""
        if self.lost or unit.threads != self._threads:
            return start_worker(folder, unit, arguments, environment)
        forked = _Forked(self, len(self._units), (folder, unit, arguments, environment))
        with folder.unit(unit.name).new_log() as log:
            request = {"unit": forked.number, "arguments": [str(folder), unit.name, *arguments]}
            self._send({**request, "environment": dict(environment)}, log.fileno())
        self._units.append(forked)
        return forked

    def stop(self, number: int) -> None:
        """Tell a worker to save and end."""
        self.listen()
        # it answers nothing before its imports are done, and has nothing to save
        if not self._ready:
            self._process.kill()
            self.lost = True
        elif not self.lost:
            self._send({"unit": number})

    def listen(self) -> None:
        """Take note of what the server has said."""
        while not self.lost:
            try:
                content = self._channel.recv(65536)
            except BlockingIOError:
                return
            except OSError:
                content = b""
            if not content:
                self.lost = True
            elif "unit" in (answer := json.loads(content)):
                self._units[answer["unit"]].end(answer["status"])
            else:
                self._ready = True

    def _send(self, message: Mapping[str, Any], *descriptors: int) -> None:
        try:
            socket.send_fds(self._channel, [json.dumps(message).encode()], descriptors)
        except OSError:
            self.lost = True


@final
class _Forked:
    """The worker of a unit; a process of its own takes over if the server is lost.

    start: arguments of `start_worker`.
    """

    def __init__(self, server: ForkServer, number: int, start: tuple[Any, ...]) -> None:
        self.number = number
        self.returncode: int | None = None
        self._server, self._start = server, start
        self._stopped = False
        self._other: Worker | None = None

    def poll(self) -> int | None:
        """See `Worker`."""
        if self._other is None and self.returncode is None:
            self._server.listen()
            if self._server.lost and self.returncode is None:
                self.end(None)
        if self._other is not None:
            self.returncode = self._other.poll()
        return self.returncode

    def terminate(self) -> None:
        """See `Worker`."""
        self._stopped = True
        if self._other is not None:
            self._other.terminate()
        elif self.returncode is None:
            self._server.stop(self.number)

    def end(self, status: int | None) -> None:
        """Take `status` as that of the worker; None starts it anew, in a process of its own, unless it was to stop."""
        self.returncode = -signal.SIGTERM if status is None and self._stopped else status
        if self.returncode is None:
            try:
                self._other = start_worker(*self._start)
            # its log cannot be written any more
            except OSError as error:
                self.returncode = EXIT_FULL if error.errno in DISK_FULL else 1
