"""Image files that are decoded when they are asked for, by worker processes, a few batches ahead."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
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
"""Images in a task of `__getitem__`; fewer are decoded in this process."""
BLOCK = 64
"""Images in a task of `check`."""
HASHED = 2**31
"""Bytes of files up to which a fingerprint is one of their contents; that takes seconds."""
_CHECKED: set[int] = set()
"""Sets of files whose headers this process has checked."""


@final
class FileImages(ImageSource):
    """The images `files` (posix paths below `root`) as squares of `size` pixels; see `sat_core.images.ImageSource`.

    Memory does not depend on how many there are. How many processes decode says `sat_datasets.workers`.
    """

    def __init__(self, root: Path, files: Sequence[str], size: int = 224, channels: int = 3) -> None:
        self.root, self.files = root.absolute(), tuple(files)
        self.shape = (len(self.files), size, size, channels)

    def __getitem__(self, index: np.ndarray | slice) -> np.ndarray:
        numbers = np.arange(len(self))[index]
        if len(numbers) <= CHUNK:
            return self.read(numbers)
        parts = np.array_split(numbers, -(-len(numbers) // CHUNK))
        images = np.empty((len(numbers), *self.shape[1:]), np.uint8)
        done = 0
        for batch in self.stream((part, None) for part in parts):
            images[done : done + len(batch)] = batch
            done += len(batch)
        return images

    def read(self, index: np.ndarray, draws: np.ndarray | None = None) -> np.ndarray:
        """The images numbered `index`, decoded here; with `draws` `(n, d)`, random parts of them."""
        return squares(**self._asked(index), array=draws)

    def stream(self, requests: Iterable[Request]) -> Iterator[np.ndarray]:
        return ordered(("squares", self._asked(index), draws) for index, draws in requests)

    def _asked(self, index: np.ndarray) -> dict[str, Any]:
        return {"paths": self._paths(index), "size": self.shape[1], "channels": self.shape[3]}

    def _paths(self, index: Iterable[int]) -> list[str]:
        return [f"{self.root}{os.sep}{self.files[number]}" for number in index]

    def check(self, progress: Callable[[int], None] = lambda _: None, *, whole: bool = False) -> list[Fault]:
        key = hash((self.root, self.files, *map(_state, self._paths(range(len(self))))))
        if key in _CHECKED and not whole:
            return []
        starts = range(0, len(self), BLOCK)
        tasks: Iterable[Task] = (
            ("checked", {"paths": self._paths(range(len(self))[i : i + BLOCK]), "whole": whole}, None) for i in starts
        )
        faults: list[Fault] = []
        for start, found in zip(starts, ordered(tasks), strict=True):
            faults += map(tuple, found)
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
        for name in self.files:
            check_regular(self.root / name)
        sizes = [os.stat(self.root / name).st_size for name in self.files]
        hashed = sum(sizes) <= HASHED
        for name, size in zip(self.files, sizes, strict=True):
            digest.update(f"{name}\0{size}\0".encode())
            if hashed:
                digest.update((self.root / name).read_bytes())
        return digest.hexdigest()

    def fingerprint(self) -> str:
        return self._fingerprint


def _state(path: str) -> tuple[int, int]:
    """Size and time of the last change; zeros for a file that is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def checked_size(text: str, name: str) -> int:
    """The option ``size`` of the data set called `name` as a number of pixels; SpecError for what is none."""
    if not re.fullmatch("[1-9][0-9]{0,3}", text) or not 8 <= int(text) <= 1024:
        raise SpecError(f"data set {name!r}: expected size=N with N from 8 to 1024 pixels, got {quoted(text)}")
    return int(text)
