"""Data sets made from arrays: the checks that a file of arrays and arrays in memory share."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sat_core.arrays import as_float, check_images, label_remedy
from sat_core.data import DataSet, Examples
from sat_core.errors import DataError
from sat_core.images import ImageSource

REQUIRED = ("x_train", "y_train", "x_test", "y_test")
OPTIONAL = ("x_val", "y_val", "class_names", "mean", "std")
_BLOCK = 1024
"""Images that are converted to float at a time: the whole set as float32 would need four times its memory."""


def data_set_from_arrays(
    arrays: Mapping[str, np.ndarray], *, name: str, prefix: str = "", notes: tuple[str, ...] = ()
) -> DataSet:
    """Make a data set from arrays.

    Args:
        arrays: `x_train`, `x_test`: images `(n, h, w, c)` or `(n, h, w)`, uint8 or float in [0, 1]. `y_train`,
            `y_test`: integers `(n,)` from 0, every class with a training example. Optional: `x_val` and `y_val`, which
            then pick the epoch; `class_names`, text `(classes,)`; `mean` and `std`, `(c,)`, in units of [0, 1] pixels,
            computed from the training images if absent. Images may be an `ImageSource`, beside `mean` and `std`.
        name: Name of the data set, as results show it.
        prefix: What error messages begin with, such as the file's path.
        notes: What users should know.

    Raises:
        DataError: An array is missing, or not as described.
    """
    missing = [key for key in REQUIRED if key not in arrays]
    if missing:
        raise DataError(f"{prefix}expected arrays {', '.join(REQUIRED)}, got no {missing[0]}")
    has_validation = "x_val" in arrays
    if has_validation != ("y_val" in arrays):
        raise DataError(f"{prefix}expected x_val and y_val, got one without the other")
    classes = _classes(arrays["y_train"], f"{prefix}y_train")
    train = _examples(arrays, "train", classes, prefix)
    test = _examples(arrays, "test", classes, prefix)
    channels = train.images.shape[3]
    mean, std = ((), ()) if {"mean", "std"} <= {*arrays} else mean_and_std(train.images)
    return DataSet(
        name=name,
        train=train,
        test=test,
        validation=_examples(arrays, "val", classes, prefix) if has_validation else None,
        class_names=_class_names(arrays, classes, prefix),
        mean=_per_channel(arrays["mean"], channels, f"{prefix}mean", least=0) if "mean" in arrays else mean,
        std=_per_channel(arrays["std"], channels, f"{prefix}std", least=1e-6) if "std" in arrays else std,
        notes=notes,
    )


def mean_and_std(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Compute the mean and standard deviation per channel.

    Args:
        images: `(n, h, w, c)`, uint8 or float32 in [0, 1].

    Returns:
        Means and deviations in units of [0, 1] pixels, rounded to 6 decimals so that machines agree. A channel that is
        constant gets the deviation 1.
    """
    blocks = [images[start : start + _BLOCK] for start in range(0, len(images), _BLOCK)]
    pixels = images[..., 0].size
    mean = sum(as_float(block).sum(axis=(0, 1, 2), dtype=np.float64) for block in blocks) / pixels
    # A second pass over the images: the difference of E[x²] and E[x]² would lose digits.
    squares = sum(((as_float(block) - mean) ** 2).sum(axis=(0, 1, 2)) for block in blocks) / pixels
    std = np.sqrt(squares).round(6)
    return tuple(mean.round(6).tolist()), tuple(np.where(std > 0, std, 1.0).tolist())


def _classes(labels: np.ndarray, name: str) -> int:
    if labels.dtype.kind not in "iu" or labels.ndim != 1 or not labels.size:
        raise DataError(
            f"{name}: expected integers of shape (n,), n > 0, got {labels.dtype} of shape {labels.shape}"
            f"{label_remedy(labels)}"
        )
    present = np.unique(labels)
    if present[0] < 0:
        raise DataError(
            f"{name}: expected labels from 0, got {present[0]}\nleave out examples without a label, or number from 0"
        )
    # Counting from 1 is the usual cause, as in MATLAB's files, and has a better remedy than a gap elsewhere.
    if np.array_equal(present, np.arange(1, len(present) + 1)):
        raise DataError(
            f"{name}: expected an example of every class in 0..{present[-1]}, got none of class 0\n"
            "labels that count from 1: subtract 1, in all parts"
        )
    gaps = np.flatnonzero(present != np.arange(len(present)))
    if gaps.size:
        raise DataError(
            f"{name}: expected an example of every class in 0..{present[-1]}, got none of class {gaps[0]}\n"
            "number the classes without a gap"
        )
    return len(present)


def _examples(arrays: Mapping[str, np.ndarray], part: str, classes: int, prefix: str) -> Examples:
    images = arrays[f"x_{part}"]
    if isinstance(images, ImageSource):
        return Examples(images, arrays[f"y_{part}"], classes, f"{prefix}{part}")
    if 0 in images.shape:
        raise DataError(f"{prefix}x_{part}: expected images with at least one pixel, got shape {images.shape}")
    # MATLAB's order, (h, w, c, n), as in the files of SVHN.
    if images.ndim == 4 and images.shape[3] == arrays[f"y_{part}"].size != len(images):
        raise DataError(
            f"{prefix}x_{part}: expected examples first, got shape {images.shape}\n"
            f"transpose with x_{part}.transpose(3, 0, 1, 2)"
        )
    return Examples(check_images(images, f"{prefix}x_{part}"), arrays[f"y_{part}"], classes, f"{prefix}{part}")


def _class_names(arrays: Mapping[str, np.ndarray], classes: int, prefix: str) -> tuple[str, ...]:
    names = arrays.get("class_names", np.arange(classes).astype(str))
    # With "" added, a set of no more than `classes` has an empty name or a double one.
    if names.dtype.kind != "U" or names.shape != (classes,) or len({*names.tolist(), ""}) <= classes:
        raise DataError(
            f"{prefix}class_names: expected {classes} different texts, none of them empty, got {names.dtype} of shape "
            f"{names.shape}: {names.ravel()[:5].tolist()}"
        )
    return tuple(names.tolist())


def _per_channel(values: np.ndarray, channels: int, name: str, least: float) -> tuple[float, ...]:
    if values.dtype.kind not in "fiu" or values.shape != (channels,) or not np.all((values >= least) & (values <= 1)):
        raise DataError(
            f"{name}: expected {channels} numbers in [{least:g}, 1], in units of [0, 1] pixels,\n"
            f"got {values.dtype} of shape {values.shape}: {values.ravel()[:5].tolist()}"
        )
    return tuple(values.astype(float).tolist())
