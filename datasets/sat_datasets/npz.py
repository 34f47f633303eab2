"""A data set in one .npz file: the arrays x_train, y_train, x_test and y_test, and what is known about them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sat_core.data import DataSet, Examples, check_images
from sat_core.errors import DataError
from sat_core.files import read_npz
from sat_datasets.statistics import mean_and_std


def load(argument: str) -> DataSet:
    """The data set in the file `argument`.

    x_train, x_test: images `(n, h, w, c)` or `(n, h, w)`, uint8 or float in [0, 1]. y_train, y_test: integers `(n,)`
    from 0, every class with a training example. Optional: class_names, text `(classes,)`; mean and std `(c,)`, in
    units of [0, 1] pixels, taken from the training images where absent. Raises DataError for anything else.
    """
    if not argument:
        raise DataError("data set 'npz': expected npz:PATH, got no path")
    path = Path(argument).expanduser()
    arrays = read_npz(path, "x_train", "y_train", "x_test", "y_test")
    classes = _classes(arrays["y_train"], f"{path}: y_train")
    train = _examples(arrays, "train", classes, path)
    test = _examples(arrays, "test", classes, path)
    mean, std = mean_and_std(train.images)
    channels = len(mean)
    return DataSet(
        name=f"npz:{argument}",
        train=train,
        test=test,
        class_names=_class_names(arrays, classes, path),
        mean=_per_channel(arrays["mean"], channels, f"{path}: mean", least=0) if "mean" in arrays else mean,
        std=_per_channel(arrays["std"], channels, f"{path}: std", least=1e-6) if "std" in arrays else std,
    )


def _classes(labels: np.ndarray, name: str) -> int:
    if labels.dtype.kind not in "iu" or labels.ndim != 1 or not labels.size:
        raise DataError(f"{name}: expected integers of shape (n,), n > 0, got {labels.dtype} of shape {labels.shape}")
    present = np.unique(labels)
    if present[0] < 0:
        raise DataError(f"{name}: expected labels from 0, got {present[0]}")
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
    return Examples(check_images(images, f"{path}: x_{part}"), arrays[f"y_{part}"], classes, f"{path}: {part}")


def _class_names(arrays: Mapping[str, np.ndarray], classes: int, path: Path) -> tuple[str, ...]:
    names = arrays.get("class_names", np.arange(classes).astype(str))
    if names.dtype.kind != "U" or names.shape != (classes,) or len(set(names.tolist())) < classes:
        raise DataError(
            f"{path}: class_names: expected {classes} different texts, got {names.dtype} of shape {names.shape}: "
            f"{names.ravel()[:5].tolist()}"
        )
    return tuple(names.tolist())


def _per_channel(values: np.ndarray, channels: int, name: str, least: float) -> tuple[float, ...]:
    if values.dtype.kind not in "fiu" or values.shape != (channels,) or not np.all((values >= least) & (values <= 1)):
        raise DataError(
            f"{name}: expected {channels} numbers in [{least:g}, 1], in units of [0, 1] pixels,\n"
            f"got {values.dtype} of shape {values.shape}: {values.ravel()[:5].tolist()}"
        )
    return tuple(values.astype(float).tolist())
