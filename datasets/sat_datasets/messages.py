"""Messages between a process and its workers: one line of JSON, then the bytes of an array. Nothing is pickled."""

from __future__ import annotations

import json
from typing import IO, Any

import numpy as np


def send(pipe: IO[bytes], header: dict[str, Any], array: np.ndarray | None = None) -> None:
    """Write a message.

    Args:
        pipe: Where to.
        header: What JSON can hold.
        array: Sent behind the header, if there is one.

    Raises:
        OSError: The other side has closed the pipe.
    """
    if array is not None:
        header = {**header, "array": [array.dtype.str, array.shape]}
    pipe.write(json.dumps(header).encode() + b"\n")
    if array is not None:
        # A memoryview with a zero in its shape cannot be cast.
        pipe.write(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
    pipe.flush()


def receive(pipe: IO[bytes]) -> tuple[dict[str, Any], np.ndarray | None] | None:
    """Read a message.

    Returns:
        Header and array as `send` got them; None if the other side ended before the message was complete.
    """
    line = pipe.readline()
    if not line.endswith(b"\n"):
        return None
    header = json.loads(line)
    if "array" not in header:
        return header, None
    dtype, shape = header.pop("array")
    # Read into its final place: no second copy of a batch of images.
    array = np.empty(shape, np.dtype(dtype))
    rest = array.reshape(-1).view(np.uint8).data
    while len(rest):
        read = pipe.readinto(rest)  # type: ignore[attr-defined]
        if not read:
            return None
        rest = rest[read:]
    return header, array
