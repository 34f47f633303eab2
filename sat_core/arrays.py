"""Checks of arrays and tensors that users pass in: images, labels, batches."""

from __future__ import annotations

from typing import Any

import numpy as np

from sat_core.errors import DataError, EvaluationError, brief, type_name
from sat_core.images import ImageSource


def check_range(low: float, high: float) -> None:
    """Raise DataError unless pixels from `low` to `high` are in [0, 1]."""
    # "not", so that NaN is refused, too.
    if not (low >= 0 and high <= 1):
        raise DataError(
            f"images: expected pixels in [0, 1], got [{low:.4g}, {high:.4g}]\nnormalise inside the model, not before"
        )


def check_batch(labels: Any, index: Any, images: Any = None, layout: str = "n, h, w, c") -> None:
    """Raise DataError unless tensors of any framework form a batch.

    Only types and shapes are checked: looking at values would make a GPU wait.

    Args:
        labels: Integers `(n,)`.
        index: Integers `(n,)`, the numbers of the examples in the training set.
        images: Floats in `layout`, if given.
        layout: Axes of the images, for the message.
    """
    kinds = [
        ("images", "float", "floats in [0, 1]", "convert them to float32 and divide by 255", images, layout),
        ("labels", "int", "integers", "give class numbers, not one-hot vectors or probabilities", labels, "n,"),
        ("index", "int", "integers", "give the numbers of the examples in the training set, not a mask", index, "n,"),
        # A slice from 1, without the images, where there are none.
    ][images is None :]
    for name, kind, words, remedy, tensor, _ in kinds:
        dtype = _dtype_name(tensor)
        # bfloat16 is a float and uint8 an int; a bool mask as index is neither.
        if not dtype.lstrip("bu").startswith(kind):
            raise DataError(f"{name}: expected {words}, got {dtype}\n{remedy}")
    shapes = [tuple(tensor.shape) for *_, tensor, _ in kinds]
    # In a graph of TensorFlow, the length of a batch may not be known yet.
    sizes = {shape[0] for shape in shapes if shape} - {None}
    if [len(shape) for shape in shapes] != [4, 1, 1][images is None :] or len(sizes) > 1:
        expected = ", ".join(f"{name} ({axes})" for name, *_, axes in kinds)
        raise DataError(f"batch: expected {expected}, got shapes {', '.join(map(str, shapes))}")


def _dtype_name(tensor: Any) -> str:
    """Return "float32" for the float32 of any framework; for other objects, the name of their type."""
    dtype = getattr(tensor, "dtype", type(tensor).__name__)
    return str(getattr(dtype, "name", dtype)).rpartition(".")[2]


def check_index(low: int, high: int, total: int) -> None:
    """Raise DataError unless example numbers from `low` to `high` belong to a split over `total` examples."""
    if not 0 <= low <= high < total:
        raise DataError(
            f"index: expected numbers of the {total} examples of the split, 0..{total - 1}, got {low}..{high}\n"
            "make the split over the same data set that the numbers count"
        )


def as_float(images: np.ndarray) -> np.ndarray:
    """Convert images to float32 in [0, 1]: uint8 is divided by 255, float32 is returned as it is."""
    if images.dtype == np.uint8:
        return images.astype(np.float32) / np.float32(255)
    return images.astype(np.float32, copy=False)


def check_images(images: object, name: str = "images") -> np.ndarray:
    """Check images and return them as a contiguous array.

    Args:
        images: `(n, h, w, c)`, or grey `(n, h, w)`; uint8, or floats in [0, 1]; an array, a tensor or a list.
        name: What the message calls them.

    Returns:
        uint8 or float32 `(n, h, w, c)`; copied only if not contiguous or of another float type.

    Raises:
        DataError: Anything else. The message says how to convert the images, if that is known.
    """
    if isinstance(images, ImageSource):
        raise DataError(
            f"{name}: expected an array, got a source of {len(images)} images; decode some with images[index]"
        )
    array = as_array(images, name, "images")
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise DataError(f"{name}: expected uint8 or float images, got {array.dtype}{image_remedy(array)}")
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
    """Check labels and return them as a contiguous array.

    Args:
        labels: Integers `(n,)` in 0..classes-1; an array, a tensor or a list.
        classes: Number of classes.
        name: What the message calls them.

    Returns:
        int64 `(n,)`.

    Raises:
        DataError: Anything else. The message says how to convert the labels, if that is known.
    """
    array = as_array(labels, name, "labels")
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise DataError(
            f"{name}: expected integer labels of shape (n,), got {array.dtype} of shape {array.shape}"
            f"{label_remedy(array)}"
        )
    array = np.ascontiguousarray(array, np.int64)
    if array.size and (array.min() < 0 or array.max() >= classes):
        low, high = int(array.min()), int(array.max())
        remedy = "\nlabels that count from 1: subtract 1" if (low, high) == (1, classes) else ""
        remedy = "\n-1 marks images without a label: leave them out, or take another part" if low == -1 else remedy
        raise DataError(f"{name}: expected labels in 0..{classes - 1}, got {low}..{high}{remedy}")
    return array


def images_of_shape(images: object, shape: tuple[int, int, int]) -> np.ndarray:
    """Do as `check_images`, and raise DataError for images of another shape than `(h, w, c)`."""
    array = check_images(images)
    if array.shape[1:] != shape:
        raise DataError(
            f"images: expected shape (n, {', '.join(map(str, shape))}), got {array.shape}\n"
            "one image is images[None]; of another size, Examples.resized(image_shape)"
        )
    return array


def labels_for(labels: object, n: int, classes: int, name: str = "labels") -> np.ndarray:
    """Do as `check_labels`, and raise DataError unless there is one for each of `n` images."""
    array = check_labels(labels, classes, name)
    if len(array) != n:
        raise DataError(f"{name}: expected one for each of {n} images, got {len(array)}")
    return array


def image_remedy(array: np.ndarray) -> str:
    """Suggest how to turn pixels of another type into uint8 or floats in [0, 1]; empty if unknown."""
    if array.dtype.kind == "b":
        return "\nmultiply by 255: x.astype('uint8') * 255"
    if array.dtype == np.uint16:
        return "\n16 bits: divide by 65535, x.astype('float32') / 65535"
    if array.dtype.kind in "iu" and array.size and array.min() >= 0 and array.max() <= 255:
        return "\nbytes in a wider type: x.astype('uint8')"
    return ""


def label_remedy(array: np.ndarray) -> str:
    """Suggest how to turn labels of another form into integers `(n,)`; empty if unknown."""
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
    """Return whether an image of this shape is `(c, h, w)`: no image has 1 or 3 rows and more than 4 channels."""
    return shape[0] in (1, 3) and shape[2] > 4


def as_array(values: object, name: str, what: str) -> np.ndarray:
    """Convert to an array. Other sequences are refused: numpy would read a data set of any length item by item."""
    if not isinstance(values, list | tuple) and not hasattr(values, "__array__"):
        raise DataError(
            f"{name}: expected an array of {what}, got {type_name(values)}\n"
            "pass images (n, height, width, channels) and labels (n,), two arrays; numpy.stack makes one of many"
        )
    try:
        return np.asarray(values)
    except Exception as error:  # a tensor on a GPU, one with gradients, images of several shapes
        raise DataError(f"{name}: {type_name(values)} does not become an array of {what} ({brief(error)})") from error


def finite(call: str, values: np.ndarray) -> np.ndarray:
    """Return what `call` of a network gave; EvaluationError unless all of it is finite."""
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values.reshape(len(values), -1)).all(axis=1)).sum())
        raise EvaluationError(
            f"{call}: expected finite numbers, got NaN or infinity for {bad} of {len(values)} images\n"
            "the weights are not finite, or the network overflows in its precision"
        )
    return values
