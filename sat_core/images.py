"""Images that are decoded on request, and resizing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from sat_core.augmentation import GREY
from sat_core.errors import DataError
from sat_core.scaling import filter_weights

Request = tuple[np.ndarray, np.ndarray | None]
"""Example numbers `(n,)`, and random draws `(n, d)` of an augmentation that crops, or None for the test-time
transform.
"""


Fault = tuple[str, str]
"""Path of a broken image, and what was expected and found: ``expected an image, got a folder``."""
LISTED = 10
"""Number of broken images that an error names."""


class ImageSource(ABC):
    """Images that do not fit into memory: used like an array `(n, h, w, c)` of uint8, and decoded on request.

    Attributes:
        shape: `(n, h, w, c)`, after the transform.
    """

    shape: tuple[int, int, int, int]
    dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        return self.shape[0]

    @abstractmethod
    def __getitem__(self, index: np.ndarray | slice) -> np.ndarray:
        """Decode the images at `index` with the test-time transform.

        Returns:
            uint8 `(m, h, w, c)`.

        Raises:
            DataError: A file is broken; the message names it.
        """

    @abstractmethod
    def stream(self, requests: Iterable[Request]) -> Iterator[np.ndarray]:
        """Decode the images of each request, in order, a few batches ahead of their use.

        Args:
            requests: If a request has draws, `sat_core.augmentation.crop_box` turns them into the part of the image
                that is scaled to the image size.

        Yields:
            uint8 `(n, h, w, c)` for each request.
        """

    @abstractmethod
    def take(self, index: np.ndarray) -> ImageSource:
        """Select the images at `index`, in that order, without decoding them."""

    @abstractmethod
    def resized(self, image_shape: tuple[int, int, int]) -> ImageSource:
        """Return the same images at size `(h, w, c)`, c = 1 or 3."""

    def check(self, progress: Callable[[int], None] = lambda _: None, *, whole: bool = False) -> list[Fault]:
        """Find broken images by their headers; by default nothing is checked.

        Args:
            progress: Called with the number of images checked so far.
            whole: Decode every image instead.
        """
        return []

    @abstractmethod
    def fingerprint(self) -> str:
        """Return the SHA-256 (hexadecimal) of everything that determines the images: files and transform."""


def refuse_broken(faults: Sequence[Fault], total: int) -> None:
    """Raise DataError if any of `total` images is broken, naming the first ten."""
    if not faults:
        return
    if len(faults) == 1:
        raise DataError(": ".join(faults[0]) + "\nreplace or remove it, and start again")
    # Of "expected an image, got X" only X: ten files share one line of the message.
    listed = "; ".join(f"{path} ({fault.partition(', got ')[2]})" for path, fault in faults[:LISTED])
    more = f"; and {len(faults) - LISTED:,} more" if len(faults) > LISTED else ""
    raise DataError(
        f"expected images, got {len(faults):,} of {total:,} files that are none or are broken:\n"
        f"{listed}{more}\nreplace or remove them, and start again"
    )


def resize(images: np.ndarray, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Resize images with a bilinear filter that widens when it reduces, like Pillow's BILINEAR (uint8: within 1/255 of
    it).

    Args:
        images: `(n, h, w, c)`, uint8 or float32 in [0, 1].
        image_shape: New `(h, w, c)`. Colour becomes luma if c = 1; grey is repeated if c = 3.

    Returns:
        Images of the new shape, in the same type.
    """
    h, w, c = image_shape
    if images.shape[1:] == image_shape:
        return images
    # So that no images at all give an array of the new shape.
    parts = [np.empty((0, h, w, c), images.dtype)]
    rows, columns = filter_weights(images.shape[1], h), filter_weights(images.shape[2], w)
    # In parts, as float64 takes eight times the memory of uint8.
    for start in range(0, len(images), 256):
        x = images[start : start + 256].astype(np.float64)
        if c == 1 and x.shape[3] == 3:
            x = x @ np.array(GREY)[:, None]
        x = np.einsum("ih,nhwc->niwc", rows, x, optimize=True)
        x = np.einsum("jw,niwc->nijc", columns, x, optimize=True)
        x = np.rint(x).clip(0, 255) if images.dtype == np.uint8 else x.clip(0, 1)
        parts.append(np.broadcast_to(x.astype(images.dtype), (*x.shape[:3], c)))
    return np.concatenate(parts)
