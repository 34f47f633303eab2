"""Data sets as the core sees them: arrays of images with labels, checked once, and what is known about them."""

from __future__ import annotations

import hashlib
from typing import final

import attrs
import numpy as np

from sat_core.errors import DataError
from sat_core.registry import Registry


@final
@attrs.frozen(eq=False)
class Examples:
    """Images and labels, checked when the object is made.

    images: `(n, h, w, c)`, uint8 in 0..255 or float32 in [0, 1]; kept as they came. labels: `(n,)` int64 in
    0..classes-1. Raises DataError on anything else.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: int
    name: str = "data"

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "images", check_images(self.images, self.name))
        object.__setattr__(self, "labels", check_labels(self.labels, self.classes, self.name))
        if len(self.images) != len(self.labels):
            raise DataError(
                f"{self.name}: expected as many labels as images, got {len(self.images)} images and "
                f"{len(self.labels)} labels"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: np.ndarray) -> Examples:
        """The examples at `index`, in that order."""
        return Examples(self.images[index], self.labels[index], self.classes, self.name)

    def float_images(self, index: np.ndarray | slice = slice(None)) -> np.ndarray:
        """float32 images in [0, 1] at `index`."""
        return as_float(self.images[index])


@final
@attrs.frozen(kw_only=True, eq=False)
class DataSet:
    """A training set, a validation set (called test in most releases) and what is known about them.

    mean, std: per channel, in units of [0, 1] pixels; the model normalises with them, so that ε stays in pixels.
    """

    name: str
    train: Examples
    test: Examples
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    licence: str = ""
    citation: str = ""

    def __attrs_post_init__(self) -> None:
        if self.train.classes < 2:
            raise DataError(f"{self.name}: expected at least 2 classes, got {self.train.classes}")
        for part in (self.train, self.test):
            if len(part) == 0:
                raise DataError(f"{part.name}: expected at least one example, got none")
        missing = np.setdiff1d(self.test.labels, self.train.labels)
        if missing.size:
            names = ", ".join(self.class_names[c] for c in missing[:5])
            raise DataError(
                f"{self.name}: validation has classes without a training example: {names}\n"
                "give them training examples or leave them out of validation"
            )
        if self.train.images.shape[1:] != self.test.images.shape[1:]:
            raise DataError(
                f"{self.name}: expected training and validation images of one shape, got "
                f"{self.train.images.shape[1:]} and {self.test.images.shape[1:]}"
            )

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.train.classes

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(h, w, c)`."""
        h, w, c = self.train.images.shape[1:]
        return int(h), int(w), int(c)

    def fingerprint(self) -> str:
        """SHA-256 over shapes, types, pixels and labels of both parts, in hexadecimal."""
        digest = hashlib.sha256()
        for part in (self.train, self.test):
            for array in (part.images, part.labels):
                digest.update(f"{array.dtype.str}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def check_range(low: float, high: float) -> None:
    """DataError unless pixels from `low` to `high` are in [0, 1]."""
    if not (low >= 0 and high <= 1):
        raise DataError(
            f"images: expected pixels in [0, 1], got [{low:.4g}, {high:.4g}]\nnormalise inside the model, not before"
        )


def as_float(images: np.ndarray) -> np.ndarray:
    """float32 images in [0, 1]: uint8 is divided by 255, float32 is returned as it is."""
    if images.dtype == np.uint8:
        return images.astype(np.float32) / np.float32(255)
    return images.astype(np.float32, copy=False)


def check_images(images: object, name: str = "images") -> np.ndarray:
    """`images` as an array `(n, h, w, c)`, uint8 or float32 in [0, 1]; DataError says what is wrong with others."""
    array = np.asarray(images)
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise DataError(f"{name}: expected uint8 or float images, got {array.dtype}")
    if array.ndim != 4:
        raise DataError(f"{name}: expected images of shape (n, height, width, channels), got {array.shape}")
    if array.dtype.kind == "f":
        array = array.astype(np.float32, copy=False)
        low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
        if not np.isfinite(low) or not np.isfinite(high):
            raise DataError(f"{name}: expected finite pixels, got NaN or infinity")
        if low < 0 or high > 1:
            raise DataError(
                f"{name}: expected float pixels in [0, 1], got [{low:.4g}, {high:.4g}]\n"
                "divide by 255 or undo the normalisation: models normalise inside"
            )
    return array


def check_labels(labels: object, classes: int, name: str = "labels") -> np.ndarray:
    """`labels` as int64 `(n,)` in 0..classes-1; DataError otherwise."""
    array = np.asarray(labels)
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise DataError(f"{name}: expected integer labels of shape (n,), got {array.dtype} of shape {array.shape}")
    array = array.astype(np.int64, copy=False)
    if array.size and (array.min() < 0 or array.max() >= classes):
        raise DataError(f"{name}: expected labels in 0..{classes - 1}, got {int(array.min())}..{int(array.max())}")
    return array


DATASETS: Registry[object] = Registry("data set", "sat_core.datasets", extra="data")
"""Loaders by name; each takes the part after ``name:`` (a path, or an empty string) and returns a `DataSet`."""


def get_dataset(name: str) -> DataSet:
    """The data set called `name`: ``digits``, ``npz:PATH``, ``folder:PATH``, or what installed packages add."""
    head, _, rest = name.partition(":")
    loaded = DATASETS.get(head)(rest)  # type: ignore[operator]
    if not isinstance(loaded, DataSet):
        raise DataError(f"data set {name!r}: expected a DataSet from its loader, got {type(loaded).__name__}")
    return loaded
