"""Batches that ranks deal among themselves are those of one process, whatever fails; ranks are threads here."""

from __future__ import annotations

import numpy as np
import pytest
from rank_threads import ThreadGroup, on_threads

from sat_core.chunks import in_parts
from sat_core.errors import EvaluationError, Interrupted, RunDirectoryError, SatError
from sat_core.process_group import ALONE, ProcessGroup
from sat_evaluation.attack.rounds import EndedByOther, by_rank_0, in_rounds

ITEMS = np.arange(100, 123)


class MemoryIsFull(Exception):
    pass


def sums(part: np.ndarray) -> tuple[int, list[int]]:
    """Its length and its items; no room for more than two behind number 108."""
    if len(part) > 2 and part[-1] > 108:
        raise MemoryIsFull("no room\nat all")
    return len(part), part.tolist()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 30])
def test_parts_and_sizes_are_those_of_one_process(size: int) -> None:
    expected_sizes: list[int] = []
    expected = [*in_parts(ITEMS, 4, sums, (MemoryIsFull,), expected_sizes.append)]
    assert [length for length, _ in expected[:4]] == [4, 4, 2, 2]

    def call(group: ThreadGroup) -> tuple[list[tuple[int, list[int]]], list[int], int]:
        sizes: list[int] = []
        rounds = [*in_rounds(ITEMS, 4, sums, group, out_of_memory=(MemoryIsFull,), lowered=sizes.append)]
        return [result for results in rounds for result in results], sizes, len(rounds)

    for results, sizes, rounds in on_threads(size, call):
        assert results == expected
        assert sizes == expected_sizes
        assert rounds <= -(-len(expected) // size) + 1  # one was broken off


def failing(error: SatError, number: int, rank: int) -> list[tuple[list[int], str]]:
    """What each of two ranks got, and its error, if `rank` raises at its part with this number or else while idle."""

    def call(group: ProcessGroup) -> tuple[list[int], str]:
        got: list[int] = []

        def one(part: np.ndarray) -> int:
            if group.rank == rank and part[0] == number:
                raise error
            return int(part[0])

        def idle() -> None:
            if number < 0:
                raise error

        try:
            for results in in_rounds(np.arange(9), 2, one, group, idle=idle):
                got += results
        except SatError as raised:
            return got, f"{type(raised).__name__}: {raised}"
        return got, ""

    return on_threads(2, call)


@pytest.mark.parametrize("error", [EvaluationError("not finite"), Interrupted("stopped")])
@pytest.mark.parametrize(("rank", "number", "before"), [(0, 4, [0, 2]), (1, 6, [0, 2, 4]), (1, -1, [0, 2, 4, 6, 8])])
def test_an_error_of_one_rank_ends_the_round_for_all(
    error: SatError, rank: int, number: int, before: list[int]
) -> None:
    """What comes before the part in which it was raised is kept."""
    other = "Interrupted" if isinstance(error, Interrupted) else "EndedByOther"
    assert failing(error, number, rank) == [(before, f"{type(error).__name__}: {error}"), (before, f"{other}: {error}")]


def test_an_error_is_told_rather_than_a_stop() -> None:
    def one(part: np.ndarray) -> None:
        raise EvaluationError("not finite") if part[0] else Interrupted("stopped")

    def call(group: ProcessGroup) -> str:
        with pytest.raises((EvaluationError, EndedByOther)[group.rank]) as caught:
            next(in_rounds(np.arange(4), 2, one, group))
        return str(caught.value)

    assert on_threads(2, call) == ["not finite"] * 2


def test_a_single_item_without_room_ends_it_on_all_ranks() -> None:
    def one(part: np.ndarray) -> None:
        raise MemoryIsFull("no room\nat all")

    def call(group: ProcessGroup) -> str:
        with pytest.raises((EvaluationError, EndedByOther)[group.rank]) as caught:
            next(in_rounds(np.arange(4), 2, one, group, out_of_memory=(MemoryIsFull,)))
        return str(caught.value).splitlines()[0]

    text = "memory: expected room for one image, and the device has less (no room)"
    assert on_threads(2, call) == [text] * 2


def test_what_rank_0_does_alone_is_told_to_all_and_so_is_its_failure() -> None:
    assert by_rank_0(ALONE, lambda: 3) == 3

    def call(group: ProcessGroup) -> list[str]:
        seen = [by_rank_0(group, lambda: f"of rank {group.rank}")]

        def fail() -> str:
            raise RunDirectoryError(f"rank {group.rank}: disk full")

        try:
            by_rank_0(group, fail)
        except SatError as error:
            seen.append(type(error).__name__)
        return seen

    assert on_threads(3, call) == [["of rank 0", "RunDirectoryError"], *[["of rank 0", "EndedByOther"]] * 2]
