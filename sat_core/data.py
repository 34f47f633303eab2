"""Examples and data sets: images with labels, checked once, and what is known about them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, cast, final

import attrs
import numpy as np

from sat_core.arrays import as_float, check_images, check_labels
from sat_core.errors import DataError
from sat_core.images import Fault, ImageSource, refuse_broken, resize


def _as_array(images: np.ndarray | ImageSource) -> np.ndarray:
    """Type a source as an array: it can be used like one."""
    return cast(np.ndarray, images)


@final
# By identity: arrays have no single truth to compare by, and hashing all pixels is what `fingerprint` is for.
@attrs.frozen(eq=False)
class Examples:
    """Images with labels, checked when the object is made.

    Attributes:
        images: `(n, h, w, c)`, or `(n, h, w)` if grey; uint8 in 0..255 or float32 in [0, 1], kept in their type.
            Tensors are accepted, and an `ImageSource`, which decodes images on request.
        labels: int64 `(n,)` in 0..classes-1. Tensors are accepted.
        classes: Number of classes.
        name: What error messages call them.

    Raises:
        DataError: Images or labels are not as described, or their numbers differ.
    """

    images: np.ndarray = attrs.field(converter=_as_array)
    labels: np.ndarray
    classes: int
    name: str = "data"

    def __attrs_post_init__(self) -> None:
        # The check looks at every pixel, which would decode a whole source; `check_files` reads headers instead.
        if not isinstance(self.images, ImageSource):
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
        """Select the examples at `index`, in that order."""
        images = self.images.take(index) if isinstance(self.images, ImageSource) else self.images[index]
        return Examples(images, self.labels[index], self.classes, self.name)

    def resized(self, image_shape: tuple[int, int, int]) -> Examples:
        """Return the same examples with images of size `(h, w, c)`."""
        if isinstance(self.images, ImageSource):
            return attrs.evolve(self, images=self.images.resized(image_shape))
        return attrs.evolve(self, images=resize(self.images, image_shape))

    def fingerprint(self) -> str:
        """Return the SHA-256 (hexadecimal) of shapes, types, pixels and labels; for a source, of its own
        fingerprint.
        """
        return _fingerprint(self)

    def float_images(self, index: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return the images at `index` as float32 in [0, 1]."""
        return as_float(self.images[index])


@final
@attrs.frozen(kw_only=True, eq=False)
class DataSet:
    """Training, test and possibly validation examples, and what is known about them.

    Attributes:
        name: Full name, as results show it.
        train: Examples to train on; A and B are made of these.
        test: Examples to report accuracy on. A part of them picks the epoch, unless there are validation examples.
        class_names: One per class.
        mean: Per channel, in units of [0, 1] pixels. The model normalises with it, so that ε stays in pixels.
        std: Per channel, in the same units.
        licence: Of the images.
        citation: Of the data set.
        validation: Examples that pick the epoch, if the release has some.
        notes: What users should know, one sentence each.

    Raises:
        DataError: Parts do not fit together, are empty, or a class has no training example.
    """

    name: str
    train: Examples
    test: Examples
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    licence: str = ""
    citation: str = ""
    validation: Examples | None = None
    notes: tuple[str, ...] = ()

    def __attrs_post_init__(self) -> None:
        if self.train.classes < 2:
            raise DataError(f"{self.name}: expected at least 2 classes, got {self.train.classes}")
        for part in self.parts:
            if len(part) == 0:
                raise DataError(f"{part.name}: expected at least one example, got none")
            if part.images.shape[1:] != self.train.images.shape[1:]:
                shapes = [each.images.shape[1:] for each in (self.train, part)]
                grey = shapes[0][:2] == shapes[1][:2]
                remedy = "make all of them grey, or all RGB" if grey else "scale them to one size, as by size=N"
                raise DataError(
                    f"{self.name}: expected images of one shape, got {shapes[0]} in {self.train.name} "
                    f"and {shapes[1]} in {part.name}\n{remedy}"
                )
        # A network cannot predict a class that it never saw: such images would only lower the accuracy.
        missing = np.setdiff1d(np.concatenate([part.labels for part in self.parts[1:]]), self.train.labels)
        if missing.size:
            names = ", ".join(self.class_names[c] for c in missing[:5])
            raise DataError(
                f"{self.name}: validation has classes without a training example: {names}\n"
                "give them training examples or leave them out of validation"
            )

    @property
    def parts(self) -> tuple[Examples, ...]:
        """Training, test and, if there are any, validation examples."""
        return (self.train, self.test) if self.validation is None else (self.train, self.test, self.validation)

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
        """Return the SHA-256 (hexadecimal) of shapes, types, pixels and labels of all parts."""
        return _fingerprint(*self.parts)

    def resized(self, image_shape: tuple[int, int, int]) -> DataSet:
        """Return the same data set with images of size `(h, w, c)`; `mean` and `std` stay those of the original
        images.
        """
        train, test, *validation = (part.resized(image_shape) for part in self.parts)
        return attrs.evolve(self, train=train, test=test, validation=validation[0] if validation else None)


def _fingerprint(*parts: Examples) -> str:
    digest = hashlib.sha256()
    for array in (array for part in parts for array in (part.images, part.labels)):
        # Without type and shape, the same bytes as 8 x 2 or 4 x 4 pixels would be one data set.
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        if isinstance(array, ImageSource):
            digest.update(array.fingerprint().encode())
        else:
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def check_files(*parts: Examples, progress: Callable[[int, int], None] = lambda *_: None, whole: bool = False) -> None:
    """Raise DataError if images that are decoded on request are broken, naming them.

    Args:
        parts: Examples; those with arrays are in memory already and need no check.
        progress: Called with the number of images checked so far and their total.
        whole: Decode every image; by default only headers are read, which is fast.
    """
    sources = [images for part in parts if isinstance(images := cast(Any, part.images), ImageSource)]
    total, before = sum(map(len, sources)), 0

    def tell(done: int) -> None:
        progress(before + done, total)

    # Of all parts before anything is raised, so that the user replaces files once, not once per part.
    faults: list[Fault] = []
    for source in sources:
        faults += source.check(tell, whole=whole)
        before += len(source)
    refuse_broken(faults, total)
