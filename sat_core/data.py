"""Data sets as the core sees them: arrays of images with labels, checked once, and what is known about them."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from typing import Any, cast, final

import attrs
import numpy as np

from sat_core.errors import DataError, SpecError, brief, quoted, type_name
from sat_core.images import Fault, ImageSource, refuse_broken, resize
from sat_core.registry import Registry, nearest


def _as_array(images: np.ndarray | ImageSource) -> np.ndarray:
    """A source stands where an array does."""
    return cast(np.ndarray, images)


@final
@attrs.frozen(eq=False)
class Examples:
    """Images and labels, checked when the object is made.

    images: `(n, h, w, c)`, or `(n, h, w)` if grey, uint8 in 0..255 or float32 in [0, 1], kept as they came; or a source
    of them, which decodes them when they are asked for. labels: `(n,)` int64 in 0..classes-1. Both may be tensors.
    Raises DataError on anything else.
    """

    images: np.ndarray = attrs.field(converter=_as_array)
    labels: np.ndarray
    classes: int
    name: str = "data"

    def __attrs_post_init__(self) -> None:
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
        """The examples at `index`, in that order."""
        images = self.images.take(index) if isinstance(self.images, ImageSource) else self.images[index]
        return Examples(images, self.labels[index], self.classes, self.name)

    def resized(self, image_shape: tuple[int, int, int]) -> Examples:
        """The same with images of another `(h, w, c)`."""
        if isinstance(self.images, ImageSource):
            return attrs.evolve(self, images=self.images.resized(image_shape))
        return attrs.evolve(self, images=resize(self.images, image_shape))

    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal over shapes, types, pixels and labels; of a source, its own instead of the pixels."""
        return _fingerprint(self)

    def float_images(self, index: np.ndarray | slice = slice(None)) -> np.ndarray:
        """float32 images in [0, 1] at `index`."""
        return as_float(self.images[index])


@final
@attrs.frozen(kw_only=True, eq=False)
class DataSet:
    """A training set, a validation set (called test in most releases) and what is known about them.

    mean, std: per channel, in units of [0, 1] pixels; the model normalises with them, so that ε stays in pixels.
    validation: examples that pick the epoch, where the release has some besides those that it reports on. notes: what
    its user should know, a sentence each.
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
                raise DataError(
                    f"{self.name}: expected training and validation images of one shape, got "
                    f"{self.train.images.shape[1:]} and {part.images.shape[1:]}"
                )
        missing = np.setdiff1d(np.concatenate([part.labels for part in self.parts[1:]]), self.train.labels)
        if missing.size:
            names = ", ".join(self.class_names[c] for c in missing[:5])
            raise DataError(
                f"{self.name}: validation has classes without a training example: {names}\n"
                "give them training examples or leave them out of validation"
            )

    @property
    def parts(self) -> tuple[Examples, ...]:
        """Training, test and, where there is one, validation examples."""
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
        """The same over all parts."""
        return _fingerprint(*self.parts)

    def resized(self, image_shape: tuple[int, int, int]) -> DataSet:
        """The same with images of another `(h, w, c)`; mean and std stay those of this one's own images."""
        train, test, *validation = (part.resized(image_shape) for part in self.parts)
        return attrs.evolve(self, train=train, test=test, validation=validation[0] if validation else None)


def _fingerprint(*parts: Examples) -> str:
    digest = hashlib.sha256()
    for array in (array for part in parts for array in (part.images, part.labels)):
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        if isinstance(array, ImageSource):
            digest.update(array.fingerprint().encode())
        else:
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def check_files(*parts: Examples, progress: Callable[[int, int], None] = lambda *_: None, whole: bool = False) -> None:
    """DataError that names the broken images of `parts` among those that are decoded when asked for.

    Headers are checked, which is fast. progress: called with the images checked so far and their number. whole: each
    image is decoded.
    """
    sources = [images for part in parts if isinstance(images := cast(Any, part.images), ImageSource)]
    total, before = sum(map(len, sources)), 0

    def tell(done: int) -> None:
        progress(before + done, total)

    faults: list[Fault] = []
    for source in sources:
        faults += source.check(tell, whole=whole)
        before += len(source)
    refuse_broken(faults, total)


def check_range(low: float, high: float) -> None:
    """DataError unless pixels from `low` to `high` are in [0, 1]."""
    if not (low >= 0 and high <= 1):
        raise DataError(
            f"images: expected pixels in [0, 1], got [{low:.4g}, {high:.4g}]\nnormalise inside the model, not before"
        )


def check_batch(labels: Any, index: Any, images: Any = None, layout: str = "n, h, w, c") -> None:
    """DataError unless tensors of any framework are a batch: integer labels and index, float images in that layout
    where some are given, shapes that fit. No value is looked at, so that a GPU does not stall.
    """
    kinds = [
        ("images", "float", "floats in [0, 1]", "convert them to float32 and divide by 255", images, layout),
        ("labels", "int", "integers", "give class numbers, not one-hot vectors or probabilities", labels, "n,"),
        ("index", "int", "integers", "give the numbers of the examples in the training set, not a mask", index, "n,"),
    ][images is None :]
    for name, kind, words, remedy, tensor, _ in kinds:
        dtype = _dtype_name(tensor)
        if not dtype.lstrip("bu").startswith(kind):
            raise DataError(f"{name}: expected {words}, got {dtype}\n{remedy}")
    shapes = [tuple(tensor.shape) for *_, tensor, _ in kinds]
    sizes = {shape[0] for shape in shapes if shape} - {None}
    if [len(shape) for shape in shapes] != [4, 1, 1][images is None :] or len(sizes) > 1:
        expected = ", ".join(f"{name} ({axes})" for name, *_, axes in kinds)
        raise DataError(f"batch: expected {expected}, got shapes {', '.join(map(str, shapes))}")


def _dtype_name(tensor: Any) -> str:
    """ "float32" for the float32 of any framework; the name of the type of what is no tensor."""
    dtype = getattr(tensor, "dtype", type(tensor).__name__)
    return str(getattr(dtype, "name", dtype)).rpartition(".")[2]


def check_index(low: int, high: int, total: int) -> None:
    """DataError unless example numbers from `low` to `high` are those of a split over `total` examples."""
    if not 0 <= low <= high < total:
        raise DataError(
            f"index: expected numbers of the {total} examples of the split, 0..{total - 1}, got {low}..{high}\n"
            "make the split over the same data set that the numbers count"
        )


def as_float(images: np.ndarray) -> np.ndarray:
    """float32 images in [0, 1]: uint8 is divided by 255, float32 is returned as it is."""
    if images.dtype == np.uint8:
        return images.astype(np.float32) / np.float32(255)
    return images.astype(np.float32, copy=False)


def check_images(images: object, name: str = "images") -> np.ndarray:
    """`images` as a contiguous array `(n, h, w, c)`, uint8 or float32 in [0, 1]; DataError says what is wrong.

    Tensors of any framework are taken as arrays, and grey images `(n, h, w)` get their channel. Only what is not
    contiguous or of another float type is copied.
    """
    if isinstance(images, ImageSource):
        raise DataError(
            f"{name}: expected an array, got a source of {len(images)} images; decode some with images[index]"
        )
    array = _array(images, name, "images")
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise DataError(f"{name}: expected uint8 or float images, got {array.dtype}")
    array = array[..., None] if array.ndim == 3 else array
    if array.ndim != 4:
        raise DataError(f"{name}: expected images of shape (n, height, width, channels), got {array.shape}")
    if channels_first(array.shape[1:]):
        raise DataError(
            f"{name}: expected channels last, got shape {array.shape}\n"
            "transpose with images.transpose(0, 2, 3, 1), a PyTorch tensor with images.permute(0, 2, 3, 1)"
        )
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
    return np.ascontiguousarray(array)


def check_labels(labels: object, classes: int, name: str = "labels") -> np.ndarray:
    """`labels` as contiguous int64 `(n,)` in 0..classes-1; DataError otherwise. Tensors are taken as arrays."""
    array = _array(labels, name, "labels")
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise DataError(
            f"{name}: expected integer labels of shape (n,), got {array.dtype} of shape {array.shape}"
            f"{label_remedy(array)}"
        )
    array = np.ascontiguousarray(array, np.int64)
    if array.size and (array.min() < 0 or array.max() >= classes):
        low, high = int(array.min()), int(array.max())
        remedy = "\nlabels that count from 1: subtract 1" if (low, high) == (1, classes) else ""
        raise DataError(f"{name}: expected labels in 0..{classes - 1}, got {low}..{high}{remedy}")
    return array


def label_remedy(array: np.ndarray) -> str:
    """A line that says how to make integers `(n,)` of labels in another form; empty where that is not known."""
    kind, remedy = array.dtype.kind, ""
    if kind in "iufb" and array.ndim == 2 and array.shape[1] > 1 and ((array == 1).sum(axis=1) == 1).all():
        remedy = "one-hot labels: take y.argmax(axis=1)"
    elif kind in "iu" and array.ndim == 2 and array.shape[1] == 1:
        remedy = "take the only column, y[:, 0]"
    elif kind == "f" and np.isnan(array).any():
        remedy = f"{int(np.isnan(array).sum())} are NaN: leave out examples without a label"
    elif kind == "f" and (array == np.rint(array)).all():
        remedy = "whole numbers: take y.astype('int64')"
    elif kind in "USb" and array.ndim == 1:
        remedy = "number them: class_names, y = np.unique(y, return_inverse=True)"
    return f"\n{remedy}" if remedy else ""


def channels_first(shape: tuple[int, ...]) -> bool:
    """Whether the shape of an image is `(c, h, w)`: no image has 1 or 3 rows and more than 4 channels."""
    return shape[0] in (1, 3) and shape[2] > 4


def _array(values: object, name: str, what: str) -> np.ndarray:
    """An array, a tensor or a list as an array; numpy would read a data set of any length item by item."""
    if not isinstance(values, list | tuple) and not hasattr(values, "__array__"):
        raise DataError(
            f"{name}: expected an array of {what}, got {type_name(values)}\n"
            "pass images (n, height, width, channels) and labels (n,), two arrays; numpy.stack makes one of many"
        )
    try:
        return np.asarray(values)
    except Exception as error:  # a tensor on a GPU, one with gradients, images of several shapes
        raise DataError(f"{name}: {type_name(values)} does not become an array of {what} ({brief(error)})") from error


DATASETS: Registry[Callable[..., Any]] = Registry("data set", "sat_core.datasets", extra="data")
"""Loaders by name; each returns a `DataSet`. It takes the part after ``name:`` (a path, or an empty string), and what
comes after ``?`` as keywords, whose values are text.
"""


def get_dataset(name: str) -> DataSet:
    """The data set called `name`: ``NAME``, ``NAME:PATH`` or ``NAME:PATH?OPTION=VALUE&OPTION=VALUE``.

    NAME: ``digits``, ``npz``, ``folder``, ``cifar10``, ..., or what an installed package adds. Raises SpecError for a
    name or an option that does not exist, DataError for data that cannot be used.
    """
    loaded = get_loader(name)()
    if not isinstance(loaded, DataSet):
        raise DataError(f"data set {name!r}: expected a DataSet from its loader, got {type(loaded).__name__}")
    return loaded


def split_name(name: str) -> tuple[str, str, dict[str, str]]:
    """NAME, PATH and options of a data set's full name.

    >>> split_name("folder:~/images?size=224")
    ('folder', '~/images', {'size': '224'})
    """
    place, _, query = name.partition("?")
    head, _, path = place.partition(":")
    options: dict[str, str] = {}
    for pair in query.split("&") if query else ():
        key, _, value = pair.partition("=")
        if not value or key in options:
            raise SpecError(f"data set {quoted(name)}: expected OPTION=VALUE after '?', each once, got {quoted(pair)}")
        options[key] = value
    return head, path, options


def get_loader(name: str) -> Callable[[], Any]:
    """What loads the data set called `name`; SpecError for a name or an option that does not exist."""
    head, path, options = split_name(name)
    loader = DATASETS.get(head)
    known = [p.name for p in inspect.signature(loader).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            expected = f"one of {', '.join(known)}" if known else "none"
            raise SpecError(
                f"data set {head!r}: unknown option {quoted(option)}{nearest(option, known)}\nexpected {expected}"
            )
    return lambda: loader(path, **options)
