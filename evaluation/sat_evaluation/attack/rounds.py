"""Rounds in which the ranks of a group attack a batch each, and what rank 0 alone does while the others wait for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from typing import Any, TypeVar, final

import attrs
import numpy as np

from sat_core.chunks import chunks, halved, said
from sat_core.errors import EvaluationError, Interrupted, SatError, brief
from sat_core.process_group import ProcessGroup

T = TypeVar("T")


@final
class EndedByOther(Interrupted):
    """Another rank has raised an error, which rank 0 raises in its words; this one has nothing to add."""


def by_rank_0(group: ProcessGroup, call: Callable[[], T]) -> T:
    """Return, on all ranks, what `call` returns on rank 0, where alone it is called.

    Raises:
        Interrupted: On the other ranks, if `call` raised that; `EndedByOther` if it raised another error, which rank 0
            raises. So none of them waits for what does not come.
    """
    if group.size == 1:
        return call()
    if group.rank > 0:
        value, error = group.broadcast()
        if error is not None:
            raise _of_follower(error)
        result: T = value
        return result
    try:
        result = call()
    except Exception as error:
        group.broadcast((None, error if isinstance(error, SatError) else SatError(brief(error))))
        raise
    group.broadcast((result, None))
    return result


def _of_follower(error: SatError) -> Interrupted:
    return error if isinstance(error, Interrupted) else EndedByOther(str(error))


@final
@attrs.frozen
class _Outcome:
    """What became of a part: a result, or why there is none.

    memory: what the device said when it ran out.
    """

    result: Any = None
    memory: str = ""
    error: SatError | None = None


def in_rounds(
    items: np.ndarray,
    size: int,
    call: Callable[[np.ndarray], T],
    group: ProcessGroup,
    *,
    out_of_memory: tuple[type[Exception], ...] = (),
    lowered: Callable[[int], object] = lambda size: None,
    idle: Callable[[], object] = lambda: None,
) -> Iterator[list[T]]:
    """Call a function on consecutive parts of `items`, of which each rank takes one in each round.

    All ranks get the results of all, and none begins the next round before. Where memory runs out, all go on with parts
    of half the size: the parts are those of `sat_core.chunks.in_parts`, whatever the number of ranks.

    Args:
        items, size, out_of_memory, lowered: As for `in_parts`. On all ranks the same.
        call: Takes a part. Its result goes to the other ranks.
        group: The ranks.
        idle: Called in a round that has no part for this rank.

    Yields:
        The results of a round, in the order of the parts: of all, or of those before the first that failed.

    Raises:
        SatError: On rank 0, if any rank has raised it. A request to stop, too, ends the round for all. Errors that are
            not of this kind end the process of their rank, and with it the group.
        Interrupted: On the other ranks, as in `by_rank_0`.
    """
    done = 0
    while done < len(items):
        parts = chunks(items[done:], size)[: group.size]
        outcomes = group.gather(_attempt(parts, call, group, out_of_memory, idle))
        good = [*takewhile(lambda outcome: not outcome.memory and outcome.error is None, outcomes[: len(parts)])]
        if good:
            done += sum(map(len, parts[: len(good)]))
            yield [outcome.result for outcome in good]
        if len(good) < len(parts) and (failure := outcomes[len(good)].memory):
            # errors of later parts are forgotten: these are done anew, and a stop is still wanted then
            try:
                size = halved(len(parts[len(good)]), failure)
            except EvaluationError as full:
                raise full if group.rank == 0 else _of_follower(full) from None
            lowered(size)
            continue
        errors = [outcome.error for outcome in outcomes if outcome.error is not None]
        for error in sorted(errors, key=lambda error: isinstance(error, Interrupted)):
            raise error if group.rank == 0 else _of_follower(error)


def _attempt(
    parts: Sequence[np.ndarray],
    call: Callable[[np.ndarray], Any],
    group: ProcessGroup,
    out_of_memory: tuple[type[Exception], ...],
    idle: Callable[[], object],
) -> _Outcome:
    try:
        if group.rank < len(parts):
            return _Outcome(call(parts[group.rank]))
        idle()
    # the traceback, which holds the tensors of the part, ends with these
    except out_of_memory as error:
        return _Outcome(memory=said(error))
    except SatError as error:
        if group.size == 1:
            raise
        return _Outcome(error=error)
    return _Outcome()
