"""Images that are decoded when they are asked for, and the transforms that change the size of an image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from sat_core.augmentation import GREY
from sat_core.errors import DataError

Request = tuple[np.ndarray, np.ndarray | None]
"""Example numbers `(n,)`, and the draws `(n, d)` of an augmentation that crops, or None for the test-time transform."""


Fault = tuple[str, str]
"""The path of a broken image, and what was expected and what came, as ``expected an image, got a folder``."""
LISTED = 10
"""Broken images that an error names."""


class ImageSource(ABC):
    """Images too many for memory. It stands where an array `(n, h, w, c)` of uint8 does, and is decoded in parts.

    shape: `(n, h, w, c)`, after the transform.
    """

    shape: tuple[int, int, int, int]
    dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        return self.shape[0]

    @abstractmethod
    def __getitem__(self, index: np.ndarray | slice) -> np.ndarray:
        """The images at `index` after the test-time transform, uint8 `(m, h, w, c)`; DataError names a broken file."""

    @abstractmethod
    def stream(self, requests: Iterable[Request]) -> Iterator[np.ndarray]:
        """The images of each request, uint8 `(n, h, w, c)`, in that order; `requests` is read a few batches ahead.

        Where a request has draws, `sat_core.augmentation.crop_box` says what part of an image is scaled to its size.
        """

    @abstractmethod
    def take(self, index: np.ndarray) -> ImageSource:
        """The images at `index`, in that order, still not decoded."""

    @abstractmethod
    def resized(self, image_shape: tuple[int, int, int]) -> ImageSource:
        """The same images at `(h, w, c)`, c = 1 or 3."""

    def check(self, progress: Callable[[int], None] = lambda _: None, *, whole: bool = False) -> list[Fault]:
        """The images that are broken, as far as their headers tell; by default nothing is checked.

        progress: called with the number of images checked so far. whole: each image is decoded.
        """
        return []

    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal over what makes the images what they are: files and transform."""


def refuse_broken(faults: Sequence[Fault], total: int) -> None:
    """DataError if there are any among `total` images: it names the first ten and their number."""
    if not faults:
        return
    if len(faults) == 1:
        raise DataError(": ".join(faults[0]) + "\nreplace or remove it, and start again")
    listed = "; ".join(f"{path} ({fault.partition(', got ')[2]})" for path, fault in faults[:LISTED])
    more = f"; and {len(faults) - LISTED:,} more" if len(faults) > LISTED else ""
    raise DataError(
        f"expected images, got {len(faults):,} of {total:,} files that are none or are broken:\n"
        f"{listed}{more}\nreplace or remove them, and start again"
    )


def resize(images: np.ndarray, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Images `(n, h, w, c)`, uint8 or float32 in [0, 1], at another `(h, w, c)`, in the same type.

    Bilinear with a filter as wide as the reduction, as Pillow's BILINEAR (uint8: within 1/255 of it). Colour becomes
    luma where one channel is asked for; grey is repeated where three are.
    """
    h, w, c = image_shape
    if images.shape[1:] == image_shape:
        return images
    parts = [np.empty((0, h, w, c), images.dtype)]
    rows, columns = _bilinear(images.shape[1], h), _bilinear(images.shape[2], w)
    for start in range(0, len(images), 256):
        x = images[start : start + 256].astype(np.float64)
        if c == 1 and x.shape[3] == 3:
            x = x @ np.array(GREY)[:, None]
        x = np.einsum("ih,nhwc->niwc", rows, x, optimize=True)
        x = np.einsum("jw,niwc->nijc", columns, x, optimize=True)
        x = np.rint(x).clip(0, 255) if images.dtype == np.uint8 else x.clip(0, 1)
        parts.append(np.broadcast_to(x.astype(images.dtype), (*x.shape[:3], c)))
    return np.concatenate(parts)


def _bilinear(before: int, after: int) -> np.ndarray:
    """Weights `(after, before)`: a triangle around the centre of each new pixel, one old pixel or more to each side."""
    scale = before / after
    reach = max(scale, 1.0)
    centres = (np.arange(after) + 0.5) * scale
    distance = np.abs(np.arange(before) + 0.5 - centres[:, None]) / reach
    weights = np.clip(1 - distance, 0, None)
    return weights / weights.sum(axis=1, keepdims=True)
