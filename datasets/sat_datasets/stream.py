"""Image files that are decoded when they are asked for, by worker processes, a few batches ahead."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np

from sat_core.augmentation import crop_box
from sat_core.errors import DataError, NotInstalledError, SpecError
from sat_core.images import ImageSource, Request
from sat_datasets.decode import read_image, scaled

AHEAD = 2
"""Batches that each worker process may be ahead."""
CHUNK = 32
"""Images in a task of `__getitem__`; fewer are decoded in this process."""


@final
class FileImages(ImageSource):
    """The images `files` (posix paths below `root`) as squares of `size` pixels; see `sat_core.images.ImageSource`.

    Memory does not depend on how many there are. Worker processes: as many as SAT_WORKERS says, by default one for
    each core, at most 8.
    """

    def __init__(self, root: Path, files: Sequence[str], size: int = 224, channels: int = 3) -> None:
        self.root, self.files = root, tuple(files)
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
        images = np.empty((len(index), *self.shape[1:]), np.uint8)
        for place, number in enumerate(index):
            pixels = read_image(self.root / self.files[number])
            box = None if draws is None else crop_box(draws[place], *pixels.shape[:2])
            images[place] = scaled(pixels, self.shape[1], self.shape[3], box)
        return images

    def stream(self, requests: Iterable[Request]) -> Iterator[np.ndarray]:
        try:
            import torch
            from torch.utils.data import DataLoader
        except ImportError as error:
            raise NotInstalledError(
                "images that do not fit in memory are decoded by PyTorch's DataLoader: pip install 'sat-core[data]'"
            ) from error
        count = workers()
        context = multiprocessing.get_context("forkserver") if count else None
        if context is not None:
            context.set_forkserver_preload(["torch", "sat_datasets.stream"])
        loader: DataLoader[Any] = DataLoader(
            _Tasks(self),  # type: ignore[arg-type]
            batch_size=None,
            sampler=requests,
            num_workers=count,
            prefetch_factor=AHEAD if count else None,
            collate_fn=_as_it_is,
            worker_init_fn=_ignore_signals,
            multiprocessing_context=context,
            generator=torch.Generator(),  # its own: the user's is left alone
        )
        for batch in loader:
            if isinstance(batch, str):
                raise DataError(batch)
            yield batch.numpy()

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
            digest.update(f"{name}\0{os.stat(self.root / name).st_size}\0".encode())
        return digest.hexdigest()

    def fingerprint(self) -> str:
        return self._fingerprint


@final
class _Tasks:
    """What a worker process does with a request. An error comes back as its text, without the worker's traceback."""

    def __init__(self, images: FileImages) -> None:
        self.images = images

    def __getitem__(self, request: Request) -> Any:
        import torch

        try:
            return torch.from_numpy(self.images.read(*request))
        except DataError as error:
            return str(error)


def workers() -> int:
    """How many processes decode; 0 is this one. SpecError if SAT_WORKERS is no count."""
    asked = os.environ.get("SAT_WORKERS") or str(min(8, os.cpu_count() or 1))
    if not asked.isdecimal():
        raise SpecError(f"SAT_WORKERS: expected a count of processes that decode images, got {asked!r}")
    return int(asked)


def _as_it_is(batch: Any) -> Any:
    return batch


def _ignore_signals(_worker: int) -> None:
    """A stop is the business of the process that trains: it saves, and the workers end with it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


def checked_size(text: str, name: str) -> int:
    """The option ``size`` of the data set called `name` as a number of pixels; SpecError for what is none."""
    if not text.isdecimal() or not 8 <= int(text) <= 1024:
        raise SpecError(f"data set {name!r}: expected size=N with N from 8 to 1024 pixels, got {text!r}")
    return int(text)
