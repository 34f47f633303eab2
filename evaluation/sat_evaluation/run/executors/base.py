"""What an executor is: something that runs the units of a study."""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import final

import attrs

from sat_core.errors import SpecError
from sat_core.run_folder import RunFolder
from sat_evaluation.run.events import require_tensorboard

STOPS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
TENSORBOARD = "--tensorboard"


@final
@attrs.frozen
class Unit:
    """A piece of work: its name, the threads of its process, and whether the ranking must be there first."""

    name: str
    threads: int
    after_ranking: bool = False


@final
@attrs.define
class Outcome:
    """How the units ended. failed: name to reason. stopped: a stop was asked for, and what that means, in a sentence.

    notice: what holds everything up right now.
    """

    done: list[str] = attrs.Factory(list)
    failed: dict[str, str] = attrs.Factory(dict)
    stopped: str = ""
    notice: str = ""


@final
@attrs.frozen
class Place:
    """Where a unit is that has not ended: running, or else queued. job: its number. note: its node, or why it waits."""

    running: bool
    job: str = ""
    note: str = ""

    @property
    def where(self) -> str:
        """In words; empty for a process of this machine."""
        return f"job {self.job}{' on ' if self.running else ', '}{self.note}" if self.job else ""


Tick = Callable[[Outcome, Mapping[str, Place]], None]
"""Called a few times a second with what has ended and the places of what has not."""


@attrs.frozen(kw_only=True)
class Executor(ABC):
    """Runs units. jobs: at a time, None is the executor's choice. save_every: seconds between saves.

    tensorboard: whether each writes an event file. Raises SpecError, and NotInstalledError without tensorboard.
    """

    jobs: int | None = None
    save_every: float = 20.0
    tensorboard: bool = False

    elsewhere = False
    """Whether units run on other machines, whose devices this one need not have."""

    def __attrs_post_init__(self) -> None:
        if self.jobs is not None and self.jobs < 1:
            raise SpecError(f"--jobs: expected an integer >= 1, got {self.jobs}")
        if not self.save_every >= 0:
            raise SpecError(f"--save-every: expected seconds >= 0, got {self.save_every}")
        if self.tensorboard:
            require_tensorboard()

    @property
    def arguments(self) -> tuple[str, ...]:
        """What each worker is told besides its unit."""
        return str(self.save_every), *([TENSORBOARD] if self.tensorboard else [])

    @property
    def submitting(self) -> Executor | None:
        """This executor when it only submits to a queue, then raises Detached; None without a queue."""
        return None

    def check(self, folder: RunFolder) -> None:
        """Refuse a folder in which units cannot be run, before anything is written to it. RunDirectoryError."""
        return None

    @abstractmethod
    def run(self, folder: RunFolder, units: Sequence[Unit], device: str, tick: Tick) -> Outcome:
        """Run `units` of `folder`, in order. One that fails takes no other down but those that need it."""


@contextmanager
def stop_signals(outcome: Outcome, meaning: str) -> Iterator[None]:
    """SIGTERM, SIGUSR1 and Ctrl-C set `outcome.stopped` to `meaning`, and do nothing else."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        outcome.stopped = meaning

    before = {number: signal.signal(number, stop) for number in STOPS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
