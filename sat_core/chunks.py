"""Large inputs in parts of bounded size, which are halved when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np

from sat_core.errors import EvaluationError

T = TypeVar("T")
CHUNK = 512
"""Images per forward or attack of calls that take any number of images, unless a device says what it can hold: more
gain no speed on a CPU and take more memory."""


def chunks(items: np.ndarray, size: int = CHUNK) -> list[np.ndarray]:
    """Split `items` along the first axis into consecutive views of `size`; the last may be shorter.

    >>> [part.tolist() for part in chunks(np.arange(5), 2)]
    [[0, 1], [2, 3], [4]]
    """
    return [items[start : start + size] for start in range(0, len(items), size)]


def in_parts(
    items: np.ndarray,
    size: int,
    call: Callable[[np.ndarray], T],
    out_of_memory: tuple[type[Exception], ...] = (),
    lowered: Callable[[int], object] = lambda size: None,
) -> Iterator[T]:
    """Call a function on consecutive parts of `items`; where memory runs out, go on with parts of half the size.

    Args:
        items: Any number of them, along the first axis.
        size: Of each part; the last may be shorter.
        call: Takes a part, and is called again with a shorter one if it ran out of memory.
        out_of_memory: Errors that say so.
        lowered: Is told each new size, before it is tried.

    Yields:
        What `call` returns.

    Raises:
        EvaluationError: Memory does not suffice for a single item.
    """
    done = 0
    while done < len(items):
        part, failure = items[done : done + size], ""
        try:
            result = call(part)
        except out_of_memory as error:
            failure = said(error)
        if failure:
            # outside of `except`: until that ends, the traceback holds the tensors of the part that was too large
            size = halved(len(part), failure)
            lowered(size)
            continue
        done += len(part)
        yield result


def halved(size: int, failure: str) -> int:
    """Return the size of parts after one of `size` items has run out of memory.

    Args:
        size: Items.
        failure: What the device said.

    Raises:
        EvaluationError: It was a single item.
    """
    if size == 1:
        raise EvaluationError(
            f"memory: expected room for one image, and the device has less ({failure})\n"
            "end what else uses the device, or take a smaller network or another device"
        )
    return (size + 1) // 2


def said(error: Exception) -> str:
    """Return the first line of an error."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
