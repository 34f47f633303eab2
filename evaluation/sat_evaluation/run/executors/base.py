"""The interface of executors, which run the units of a study, and what they exchange with it."""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import final

import attrs

from sat_core.errors import SpecError
from sat_core.registry import unknown
from sat_core.run_folder import RunFolder
from sat_core.trackers import TRACKERS

# batch systems announce a time limit with SIGTERM or SIGUSR1; SIGINT is Ctrl-C
STOPS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


@final
@attrs.frozen
class Unit:
    """A ranking or an arm that is to be run, or an evaluation (`sat_evaluation.run.executors.evaluation_folder`).

    Attributes:
        name: Of its folder; `RANKING` for the ranking.
        threads: Of its process, on the CPU.
        after_ranking: Whether it needs the ranking.
        command: Of an evaluation, the module that its process runs, with arguments; empty for a worker of the unit.
    """

    name: str
    threads: int
    after_ranking: bool = False
    command: tuple[str, ...] = ()


@final
@attrs.define
class Outcome:
    """How units ended.

    Attributes:
        done: Names of finished units.
        failed: Names of failed units, with the reason.
        stopped: What a requested stop means for the units, in a sentence; empty if none was requested.
        notice: What holds everything up right now; usually empty.
    """

    done: list[str] = attrs.Factory(list)
    failed: dict[str, str] = attrs.Factory(dict)
    stopped: str = ""
    notice: str = ""


@final
@attrs.frozen
class Place:
    """Where a unit is that has not ended.

    Attributes:
        running: Whether it runs; else it is queued.
        job: Number of its job; empty for a process of this machine.
        note: The node of a running job, or why a queued one waits.
    """

    running: bool
    job: str = ""
    note: str = ""

    @property
    def where(self) -> str:
        """Job and node in words; empty for a process of this machine."""
        return f"job {self.job}{' on ' if self.running else ', '}{self.note}" if self.job else ""


Tick = Callable[[Outcome, Mapping[str, Place]], None]
"""tick(outcome, places), called a few times a second with what has ended and where the other units are."""


@attrs.frozen(kw_only=True)
class Executor(ABC):
    """Runs units.

    Args:
        jobs: Units at a time; None for what fits the machine.
        save_every: Seconds between saves within an epoch.
        trackers: Names of `sat_core.trackers.TRACKERS` that are told of each unit.
        devices: Of one machine, on which each unit runs, each with a process of its own.
        nodes: Machines of each unit, with so many devices each.

    Raises:
        SpecError: A setting is wrong.
        NotInstalledError: The library of a tracker is missing.
    """

    jobs: int | None = None
    save_every: float = 20.0
    trackers: tuple[str, ...] = ()
    devices: int = 1
    nodes: int = 1

    elsewhere = False
    """Whether units run on other machines. This one then need not have their device."""

    def __attrs_post_init__(self) -> None:
        if self.jobs is not None and self.jobs < 1:
            raise SpecError(f"--jobs: expected an integer >= 1, got {self.jobs}")
        for option in ("devices", "nodes"):
            if getattr(self, option) < 1:
                raise SpecError(f"--{option}: expected an integer >= 1, got {getattr(self, option)}")
        # not `< 0`, which lets NaN pass: argparse makes it of "nan"
        if not self.save_every >= 0:
            raise SpecError(f"--save-every: expected seconds >= 0, got {self.save_every}")
        # here, once: else every unit would start and fail for the same reason
        for name in self.trackers:
            if name not in TRACKERS:
                raise SpecError(f"--track: {unknown('tracker', name, TRACKERS)}")
            TRACKERS.get(name).check()

    @property
    def ranks(self) -> int:
        """Number of devices that train a unit together."""
        return self.nodes * self.devices

    @property
    def arguments(self) -> tuple[str, ...]:
        """Arguments of each worker after its folder and its unit."""
        return str(self.save_every), *self.trackers

    @property
    def submitting(self) -> Executor | None:
        """This executor, but raising Detached once jobs are in its queue; None if it has no queue."""
        return None

    def check_device(self, device: str) -> None:
        """Raise SpecError for a device that units cannot run on, or not on as many of it as they are to."""
        if self.ranks > 1 and ":" in device:
            raise SpecError(f"--device: expected cpu or cuda with several devices, got {device}")

    def check(self, folder: RunFolder) -> None:
        """Raise RunDirectoryError for a folder in which units cannot be run, before anything is written to it."""
        return None

    @abstractmethod
    def run(self, folder: RunFolder, units: Sequence[Unit], device: str, tick: Tick) -> Outcome:
        """Run units.

        Args:
            folder: Of the run.
            units: In the order in which they start. If one fails, only those that need it are not run.
            device: What they compute on.
            tick: See `Tick`.
        """


@contextmanager
def stop_signals(outcome: Outcome, meaning: str) -> Iterator[None]:
    """Make SIGTERM, SIGUSR1 and Ctrl-C set `outcome.stopped` to `meaning` inside, and do nothing else."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        outcome.stopped = meaning

    # the caller may have handlers of its own, as a notebook has for SIGINT
    before = {number: signal.signal(number, stop) for number in STOPS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
