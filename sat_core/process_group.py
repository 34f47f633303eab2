"""Processes that run one training or evaluation together, each with a device of its own: the ranks of a group."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any, TypeVar, final

T = TypeVar("T")


class Command(IntEnum):
    """What rank 0 tells the other ranks to do with it; `sat_core.leader` tells it, `sat_core.follower` does it."""

    END = 1
    START = 2
    TRAINER = 3
    MODEL = 4
    STATE = 5
    BEGIN = 6
    STEP = 7
    LOSSES = 8
    MOMENTS = 9
    LOGITS = 10
    RECORD = 11
    ATTACK = 12
    SPLIT = 13
    MEASURE = 14


class ProcessGroup(ABC):
    """The ranks of one training or evaluation. Rank 0 leads: it reads and writes the files, and decides.

    Every method is called by all ranks, and returns when all have called it. What goes through here are numbers and
    small arrays, in the memory of the host; gradients are summed by the framework.

    Attributes:
        rank: Of this process, from 0.
        size: Number of ranks.
        stop_wanted: Whether any rank had been told to stop when `lead` or `listen` was last called.
    """

    rank: int
    size: int
    stop_wanted: bool = False

    @abstractmethod
    def greatest(self, numbers: Sequence[int]) -> list[int]:
        """Return the greatest of each number over all ranks."""

    @abstractmethod
    def broadcast(self, value: Any = None) -> Any:
        """Return the value of rank 0. What other ranks give is not looked at."""

    @abstractmethod
    def gather(self, value: T) -> list[T]:
        """Return the values of all ranks, in their order."""

    @final
    def lead(self, command: Command, first: int = 0, second: int = 0) -> None:
        """Tell the other ranks, which `listen`, what comes next. For rank 0; does nothing if it is alone.

        Args:
            command: What to do.
            first, second: Numbers >= 0 that belong to it.
        """
        if self.size > 1:
            self._agree(command, first, second, 0)

    @final
    def listen(self, *, stop: bool = False) -> tuple[Command, int, int]:
        """Wait for what rank 0 tells with `lead`, and return it.

        Args:
            stop: Whether this rank has been told to stop, which rank 0 then sees in `stop_wanted`.
        """
        command, first, second = self._agree(0, 0, 0, stop)
        return Command(command), first, second

    def _agree(self, *numbers: int) -> list[int]:
        # One small exchange for each step: with it, a stop that reaches a single rank is known to all.
        *told, stop = self.greatest(numbers)
        self.stop_wanted = self.stop_wanted or bool(stop)
        return told

    @final
    def dealt(self, parts: Sequence[Any], call: Callable[[Any], T]) -> list[T]:
        """Return `call(part)` for each part, in their order; the ranks do every `size`-th part each."""
        done = self.gather([call(part) for part in parts[self.rank :: self.size]])
        return [done[number % self.size][number // self.size] for number in range(len(parts))]


@final
class Alone(ProcessGroup):
    """The group of a single process."""

    rank, size = 0, 1

    def greatest(self, numbers: Sequence[int]) -> list[int]:
        return [*numbers]

    def broadcast(self, value: Any = None) -> Any:
        return value

    def gather(self, value: T) -> list[T]:
        return [value]


ALONE = Alone()
