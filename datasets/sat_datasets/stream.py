"""Image files that worker processes decode when they are needed, a few batches ahead."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np

from sat_core.errors import DataError, SpecError, quoted
from sat_core.files import check_regular
from sat_core.images import Fault, ImageSource, Request
from sat_datasets.decode import squares
from sat_datasets.workers import Task, ordered

CHUNK = 32
"""Images per task of `__getitem__`; this many or fewer are decoded in this process."""
BLOCK = 64
"""Images per task of `check`."""
HASHED = 2**31
"""Most bytes of files whose contents are part of the fingerprint; hashing that many takes seconds."""
_CHECKED: set[int] = set()
"""Hashes of the lists of files that this process has checked, so that no run and no arm checks them twice."""


@final
class FileImages(ImageSource):
    """Image files as squares, decoded when they are needed; memory does not depend on their number.

    Args:
        root: The folder of the files.
        files: Posix paths relative to `root`.
        size: Pixels of a side.
        channels: 1 or 3.
    """

    def __init__(self, root: Path, files: Sequence[str], size: int = 224, channels: int = 3) -> None:
        self.root, self.files = root.absolute(), tuple(files)
        self.shape = (len(self.files), size, size, channels)

    def __getitem__(self, index: np.ndarray | slice) -> np.ndarray:
        positions = np.arange(len(self))[index]
        if len(positions) <= CHUNK:
            return self.read(positions)
        # Parts of one size, so that all workers end at about the same time.
        parts = np.array_split(positions, -(-len(positions) // CHUNK))
        images = np.empty((len(positions), *self.shape[1:]), np.uint8)
        done = 0
        for batch in self.stream((part, None) for part in parts):
            images[done : done + len(batch)] = batch
            done += len(batch)
        return images

    def read(self, index: np.ndarray, draws: np.ndarray | None = None) -> np.ndarray:
        """Decode images in this process.

        Args:
            index: `(n,)` positions.
            draws: `(n, d)` uniform draws that place a random crop in each image, or None for the central crop.

        Returns:
            `(n, size, size, channels)` uint8.
        """
        return squares(**self._arguments(index), array=draws)

    def stream(self, requests: Iterable[Request]) -> Iterator[np.ndarray]:
        return ordered(("squares", self._arguments(index), draws) for index, draws in requests)

    def _arguments(self, index: np.ndarray) -> dict[str, Any]:
        return {"paths": self._paths(index), "size": self.shape[1], "channels": self.shape[3]}

    def _paths(self, index: Iterable[int]) -> list[str]:
        return [f"{self.root}{os.sep}{self.files[number]}" for number in index]

    def check(self, progress: Callable[[int], None] = lambda _: None, *, whole: bool = False) -> list[Fault]:
        # Size and time of every file are in the key: a file that is replaced is checked again.
        key = hash((self.root, self.files, *map(_state, self._paths(range(len(self))))))
        if key in _CHECKED and not whole:
            return []
        starts = range(0, len(self), BLOCK)
        tasks: Iterable[Task] = (
            ("find_broken", {"paths": self._paths(range(len(self))[i : i + BLOCK]), "whole": whole}, None)
            for i in starts
        )
        faults: list[Fault] = []
        for start, new in zip(starts, ordered(tasks), strict=True):
            faults += map(tuple, new)  # JSON has made lists of the pairs
            progress(min(start + BLOCK, len(self)))
        if not faults:
            _CHECKED.add(key)
        return faults

    def take(self, index: np.ndarray) -> FileImages:
        files = [self.files[i] for i in index]
        return FileImages(self.root, files, self.shape[1], self.shape[3])

    def resized(self, image_shape: tuple[int, int, int]) -> FileImages:
        h, w, c = image_shape
        if h != w:
            raise DataError(f"{self.root}: expected a square to scale images to, got {w} x {h} (width x height)")
        return FileImages(self.root, self.files, h, c)

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256(repr(self.shape).encode())
        paths = self._paths(range(len(self)))
        # All of them before any is read: reading a pipe would wait for ever.
        sizes = [_size(path) for path in paths]
        hashed = sum(sizes) <= HASHED
        for name, path, size in zip(self.files, paths, sizes, strict=True):
            digest.update(f"{name}\0{size}\0".encode())
            if hashed:
                with open(path, "rb") as file:
                    digest.update(file.read())
        return digest.hexdigest()

    def fingerprint(self) -> str:
        return self._fingerprint


def _size(path: str) -> int:
    """Return the size of a file; DataError if there is something else. Asks once: there may be a million."""
    with suppress(OSError):
        status = os.stat(path)
        if stat.S_ISREG(status.st_mode):
            return status.st_size
    check_regular(Path(path))  # raises, and says what is there
    raise DataError(f"{path}: expected a file that stays, got one that comes and goes")


def _state(path: str) -> tuple[int, int]:
    """Return size and modification time of a file; zeros if it is missing."""
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def checked_size(text: str, name: str) -> int:
    """Return the option `size` of a data set as a number.

    Raises:
        SpecError: `text` is no number from 8 to 1024.
    """
    if not re.fullmatch("[1-9][0-9]{0,3}", text) or not 8 <= int(text) <= 1024:
        raise SpecError(f"data set {name!r}: expected size=N with N from 8 to 1024 pixels, got {quoted(text)}")
    return int(text)
