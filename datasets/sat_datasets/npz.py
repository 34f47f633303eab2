"""A data set in one .npz file: images and labels for training, testing and validation, and what is known of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sat_core.arrays import check_images, label_remedy
from sat_core.data import DataSet, Examples
from sat_core.errors import DataError
from sat_core.files import read_npz
from sat_datasets.statistics import mean_and_std

REQUIRED = ("x_train", "y_train", "x_test", "y_test")
OPTIONAL = ("x_val", "y_val", "class_names", "mean", "std")


def load(argument: str) -> DataSet:
    """The data set in the file `argument`.

    x_train, x_test: images `(n, h, w, c)` or `(n, h, w)`, uint8 or float in [0, 1]. y_train, y_test: integers `(n,)`
    from 0, every class with a training example. Optional: x_val and y_val, which then pick the epoch; class_names, text
    `(classes,)`; mean and std `(c,)`, in units of [0, 1] pixels, taken from the training images where absent. Raises
    DataError for anything else, other arrays included.
    """
    if not argument:
        raise DataError("data set 'npz': expected npz:PATH, got no path")
    path = Path(argument).expanduser()
    arrays = read_npz(path, *REQUIRED, optional=OPTIONAL)
    has_validation = "x_val" in arrays
    if has_validation != ("y_val" in arrays):
        raise DataError(f"{path}: expected x_val and y_val, got one without the other")
    classes = _classes(arrays["y_train"], f"{path}: y_train")
    train = _examples(arrays, "train", classes, path)
    test = _examples(arrays, "test", classes, path)
    mean, std = mean_and_std(train.images)
    channels = len(mean)
    return DataSet(
        name=f"npz:{argument}",
        train=train,
        test=test,
        validation=_examples(arrays, "val", classes, path) if has_validation else None,
        class_names=_class_names(arrays, classes, path),
        mean=_per_channel(arrays["mean"], channels, f"{path}: mean", least=0) if "mean" in arrays else mean,
        std=_per_channel(arrays["std"], channels, f"{path}: std", least=1e-6) if "std" in arrays else std,
    )


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


def _examples(arrays: Mapping[str, np.ndarray], part: str, classes: int, path: Path) -> Examples:
    images = arrays[f"x_{part}"]
    if 0 in images.shape:
        raise DataError(f"{path}: x_{part}: expected images with at least one pixel, got shape {images.shape}")
    if images.ndim == 4 and images.shape[3] == arrays[f"y_{part}"].size != len(images):
        raise DataError(
            f"{path}: x_{part}: expected examples first, got shape {images.shape}\n"
            f"transpose with x_{part}.transpose(3, 0, 1, 2)"
        )
    return Examples(check_images(images, f"{path}: x_{part}"), arrays[f"y_{part}"], classes, f"{path}: {part}")


def _class_names(arrays: Mapping[str, np.ndarray], classes: int, path: Path) -> tuple[str, ...]:
    names = arrays.get("class_names", np.arange(classes).astype(str))
    if names.dtype.kind != "U" or names.shape != (classes,) or len({*names.tolist(), ""}) <= classes:
        raise DataError(
            f"{path}: class_names: expected {classes} different texts, none of them empty, got {names.dtype} of shape "
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
