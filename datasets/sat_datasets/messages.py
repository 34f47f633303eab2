"""Messages between this process and its workers: a line of JSON, and the bytes of an array. Nothing is pickled."""

from __future__ import annotations

import json
from typing import IO, Any

import numpy as np


def send(pipe: IO[bytes], about: dict[str, Any], array: np.ndarray | None = None) -> None:
    """Write `about`, and `array` if there is one; OSError if no one reads any more."""
    if array is not None:
        about = {**about, "array": [array.dtype.str, array.shape]}
    pipe.write(json.dumps(about).encode() + b"\n")
    if array is not None:
        pipe.write(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
    pipe.flush()


def receive(pipe: IO[bytes]) -> tuple[dict[str, Any], np.ndarray | None] | None:
    """What `send` wrote; None if the other side has ended before or within it."""
    line = pipe.readline()
    if not line.endswith(b"\n"):
        return None
    about = json.loads(line)
    if "array" not in about:
        return about, None
    dtype, shape = about.pop("array")
    array = np.empty(shape, np.dtype(dtype))
    rest = array.reshape(-1).view(np.uint8).data
    while len(rest):
        read = pipe.readinto(rest)  # type: ignore[attr-defined]
        if not read:
            return None
        rest = rest[read:]
    return about, array
