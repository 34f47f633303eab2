"""What tests and intervals are given: flags of test images, of one training or of several."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sat_core.errors import DataError


def flags(name: str, values: object) -> np.ndarray:
    """Return flags of one training as bool `(n,)`, n >= 1.

    Raises:
        DataError: They are something else, or there are none.
    """
    array = np.asarray(values)
    if array.ndim != 1 or not array.size or not _binary(array):
        raise DataError(f"{name}: expected a flag (0 or 1) of each test image, got {_described(array)}")
    return array.astype(bool)


def seeds_and_images(name: str, values: object) -> np.ndarray:
    """Return flags as float64 `(seeds, n)`; of one training `(n,)` becomes `(1, n)`.

    Raises:
        DataError: They are something else, or there are none.
    """
    array = np.asarray(values)
    array = array[None] if array.ndim == 1 else array
    if array.ndim != 2 or not array.size or not _binary(array):
        raise DataError(f"{name}: expected flags (0 or 1) as (seeds, images), got {_described(array)}")
    return array.astype(np.float64)


def same_images(name: str, arms: Sequence[np.ndarray]) -> int:
    """Return the number of test images, which is the last axis of every array.

    Raises:
        DataError: Arms have different numbers of them.
    """
    counts = sorted({arm.shape[-1] for arm in arms})
    if len(counts) != 1:
        raise DataError(f"{name}: expected flags of the same images for every arm, got {counts} images")
    return counts[0]


def _binary(array: np.ndarray) -> bool:
    return array.dtype == bool or (array.dtype.kind in "iuf" and bool(((array == 0) | (array == 1)).all()))


def _described(array: np.ndarray) -> str:
    return f"an array {array.shape} of {array.dtype}"
