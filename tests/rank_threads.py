"""A group whose ranks are threads of this process, and jobs that they run together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from toys import job

from sat_core.arm import run_arm
from sat_core.follower import follow
from sat_core.leader import leading
from sat_core.process_group import ProcessGroup
from sat_core.ranking import Ranking, needs_ranking, ranking_job, run_ranking
from sat_core.reference import NumpyBackend
from sat_core.unit_folder import UnitFolder

T = TypeVar("T")


class Table:
    """Where ranks in threads of one process lay down what they exchange."""

    def __init__(self, size: int) -> None:
        self.values: list[Any] = [None] * size
        self.met = threading.Barrier(size, timeout=60)


class ThreadGroup(ProcessGroup):
    """A rank in a thread."""

    def __init__(self, rank: int, table: Table) -> None:
        self.rank, self.size, self._table = rank, len(table.values), table

    def gather(self, value: T) -> list[T]:
        self._table.values[self.rank] = value
        self._table.met.wait()
        values = [*self._table.values]
        self._table.met.wait()
        return values

    def greatest(self, numbers: Sequence[int]) -> list[int]:
        return [max(each) for each in zip(*self.gather(numbers), strict=True)]

    def broadcast(self, value: Any = None) -> Any:
        return self.gather(value)[0]


def on_threads(size: int, call: Callable[[ThreadGroup], Any]) -> list[Any]:
    """What `call` returns on each rank; where one fails, the others end with an error, too."""
    table = Table(size)

    def one(rank: int) -> Any:
        try:
            return call(ThreadGroup(rank, table))
        except BaseException:
            table.met.abort()
            raise

    with ThreadPoolExecutor(size) as pool:
        return [*pool.map(one, range(size))]


def on_ranks(size: int, folder: Path, lead: Any = run_arm, told: dict[int, Any] | None = None, **changes: Any) -> Any:
    """What `lead` returns on rank 0 for a job whose other ranks follow; told: changes of single ranks."""

    def one(group: ThreadGroup) -> Any:
        backend = NumpyBackend()
        backend.join(group)
        mine = {**changes, **(told or {}).get(group.rank, {})}
        here = job(folder / ("ranking" if lead is run_ranking else "arm"), backend=backend, group=group, **mine)
        if group.rank == 0:
            with leading(group):
                return lead(here, *([ranking_in(folder)] if lead is run_arm and needs_ranking(here.spec) else []))
        if lead is run_ranking:
            here = ranking_job(here)
            return follow(here, here.no_members())
        ranking = ranking_in(folder) if needs_ranking(here.spec) else Ranking()
        return follow(here, ranking.split(here))

    return on_threads(size, one)[0]


def ranking_in(folder: Path) -> Ranking:
    return Ranking.read(UnitFolder(folder / "ranking"))
