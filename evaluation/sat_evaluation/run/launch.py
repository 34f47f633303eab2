"""Starts the ranks of one unit, or of one evaluation, on the devices of this machine, as torchrun does it.

``python -m sat_evaluation.run.launch DEVICES OUT UNIT ...`` is ``python -m sat_evaluation.run.worker OUT UNIT ...`` on
so many devices: it ends with the same exit status.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import final
from uuid import uuid4

import attrs

from sat_core.errors import EXIT_CONTINUE, brief, printable
from sat_evaluation.run.executors.processes import EXIT_FULL, EXIT_PEER, STOPPED, WORKER_STOPS, ended_by
from sat_evaluation.run.parent import PARENT, STOP_FILE, end_with_parent

_STOPS = (*WORKER_STOPS, signal.SIGINT)
_DEATHS = (signal.SIGHUP, signal.SIGQUIT)
"""Signals that torchelastic handles: it passes them on, and kills the ranks half a minute later."""
_LOOK = 0.1
"""Seconds between two looks at whether a rank has ended; below `ranks._ECHO`."""


@final
@attrs.frozen
class End:
    """How ranks have ended together.

    Attributes:
        status: Exit status, as of `sat_evaluation.run.worker.main`.
        reason: Why they failed, in a line; empty if they have not.
    """

    status: int
    reason: str = ""


def launch_ranks(arguments: Sequence[str], devices: int) -> End:
    """Run ``python ARGUMENTS`` as so many ranks, and return how they ended. For the main thread.

    A stop (SIGTERM, SIGUSR1, SIGUSR2 or Ctrl-C) is passed on to all ranks, which have as long as they need to save. The
    ranks end with this process, whatever ends it, if they call `sat_evaluation.run.parent.end_with_parent`. Standard
    streams are those of this process.

    Args:
        arguments: Of Python, as ``-m``, a module, and its own arguments.
        devices: Number of ranks.
    """
    with tempfile.TemporaryDirectory(prefix="sat-ranks-", ignore_cleanup_errors=True) as folder:
        stop_file = Path(folder, "stop")
        # else warnings of its sockets, as that a name has no IPv6 address
        level = {"TORCH_CPP_LOG_LEVEL": os.environ.get("TORCH_CPP_LOG_LEVEL", "ERROR")}
        # torchelastic sets this one, for good
        signals = {"TORCHELASTIC_SIGNALS_TO_HANDLE": ",".join(number.name for number in _DEATHS)}
        with _stops(stop_file), _environment({**level, **signals, PARENT: str(os.getpid()), STOP_FILE: str(stop_file)}):
            return _launch(arguments, devices, stop_file)


def _launch(arguments: Sequence[str], devices: int, stop_file: Path) -> End:
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # its tables and warnings would hide the reason, which is the last line of the log
    quiet = logging.getLogger("torch.distributed.elastic")
    quiet.addHandler(logging.NullHandler())
    quiet.propagate = False
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=devices,
        # a new rendezvous for each start: ranks of an earlier one that still run do not meet these
        run_id=uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        monitor_interval=_LOOK,
        logs_specs=DefaultLogsSpecs(log_dir=str(stop_file.parent)),
        # not `_STOPS`: saving may take longer than it waits
        signals_to_handle=os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"],
    )
    if stop_file.exists():  # while PyTorch was imported
        return End(EXIT_CONTINUE)
    try:
        elastic_launch(config, sys.executable)(*arguments)
    except ChildFailedError as error:
        failures = [
            # without a file of the rank's own, torchelastic makes a message up
            (rank, failure.exitcode, failure.message if os.path.isfile(failure.error_file) else "")
            for rank, failure in error.failures.items()
        ]
        return _end(failures, devices)
    except SignalException as error:
        return End(1, ended_by(error.sigval))
    except Exception as error:
        return End(1, f"the {devices} ranks could not be started ({printable(brief(error))})")
    return End(0)


def _end(failures: Sequence[tuple[int, int, str]], devices: int) -> End:
    """Return how ranks have ended of which some have failed.

    failures: number, exit status and message of these ranks, in the order in which they were seen to end.
    """
    # Ranks that miss another one come last: they have ended because it has.
    rank, status, message = min(failures, key=lambda failure: failure[1] == EXIT_PEER)
    if status in STOPPED:
        return End(EXIT_CONTINUE)
    if status == EXIT_FULL:
        return End(EXIT_FULL)
    name = f"rank {rank} of {devices}"
    if status < 0:
        return End(1, f"{name} was {ended_by(-status)}")
    # what it has told by `ranks.explain_end`, as one device would tell it
    reason = message or f"ended with status {status}"
    return End(
        2 if status == 2 else 1, message if message and (rank == 0 or status == EXIT_PEER) else f"{name}: {reason}"
    )


@contextmanager
def _stops(stop_file: Path) -> Iterator[None]:
    """Pass stops on inside: ranks look for the file, which reaches also those that have not yet begun."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        # its folder may have been cleaned away in the weeks that a training can take
        stop_file.parent.mkdir(parents=True, exist_ok=True)
        stop_file.touch()

    before = {number: signal.getsignal(number) for number in (*_STOPS, *_DEATHS)}
    for number in _STOPS:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _environment(more: Mapping[str, str]) -> Iterator[None]:
    """Add to the environment inside, which ranks inherit."""
    before = {key: os.environ.get(key) for key in more}
    os.environ |= more
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


def main() -> int:
    """Run the unit on the command line; returns the exit status of `sat_evaluation.run.worker.main`."""
    devices, *arguments = sys.argv[1:]
    end_with_parent()
    end = launch_ranks(["-P", "-m", "sat_evaluation.run.worker", *arguments], int(devices))
    if end.reason:
        sys.stderr.write(f"{end.reason}\n")
    return end.status


if __name__ == "__main__":
    sys.exit(main())
