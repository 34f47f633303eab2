"""Workers that import what the next units need while others run: `sat_evaluation.run.spare`."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import final

from sat_core.run_folder import RunFolder
from sat_evaluation.run.executors.base import Unit
from sat_evaluation.run.executors.processes import Worker, environment_of, start_worker


@final
class Spares:
    """Starts workers, and for each a spare one, which runs the next unit in its place. For GPUs, which bear no forks.

    Args:
        folder: Of the run.
        units: How many are to be started.
    """

    def __init__(self, folder: RunFolder, units: int) -> None:
        self._folder, self._left = folder, units
        self._spares: dict[tuple[object, ...], _Spare] = {}

    def __enter__(self) -> Spares:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the spare workers."""
        for spare in self._spares.values():
            spare.end()

    def start(self, folder: RunFolder, unit: Unit, arguments: Sequence[str], environment: Mapping[str, str]) -> Worker:
        """Start the worker of a unit, as `start_worker`; OSError."""
        self._left -= 1
        # variables, such as the GPU, are set before anything is imported
        kind = unit.threads, *sorted(environment.items())
        spare = self._spares.pop(kind, None)
        worker = (spare and spare.run(folder, unit, arguments)) or start_worker(folder, unit, arguments, environment)
        if self._left > len(self._spares):
            self._spares[kind] = _Spare(self._folder, unit.threads, environment)
        return worker


class _Spare:
    def __init__(self, folder: RunFolder, threads: int, environment: Mapping[str, str]) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        program = [sys.executable, "-P", "-m", "sat_evaluation.run.spare", str(folder), str(theirs.fileno())]
        with theirs:
            self.process = subprocess.Popen(
                program,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment_of(threads, environment),
                pass_fds=[theirs.fileno()],
                process_group=0,
            )

    def run(self, folder: RunFolder, unit: Unit, arguments: Sequence[str]) -> Worker | None:
        """Become the worker of a unit; returns None if the process has ended, as by a signal to all of a job."""
        if self.process.poll() is not None:
            self.end()
            return None
        request = {"arguments": [str(folder), unit.name, *arguments], "environment": {}}
        with folder.unit(unit.name).new_log() as log, self._channel, suppress(BrokenPipeError):
            socket.send_fds(self._channel, [json.dumps(request).encode()], [log.fileno()])
        return self.process

    def end(self) -> None:
        self._channel.close()
        self.process.kill()
        self.process.wait()
