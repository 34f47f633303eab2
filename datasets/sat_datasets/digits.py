"""The 1,797 handwritten digits of 8 x 8 pixels that scikit-learn ships, in one fixed split."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from sat_core.data import DataSet, Examples
from sat_core.errors import SpecError, quoted
from sat_datasets.catalogue import catalogue_entry
from sat_datasets.named import changed, dataset, needs, nothing_after

VALIDATION = 360
"""Number of test images; the other 1,437 are for training."""
SEED = 0
_FILE = "datasets/data/digits.csv.gz"
"""The table in scikit-learn's folder."""
MEAN, STD = catalogue_entry("digits").mean, catalogue_entry("digits").std
"""Mean and standard deviation of the training images, in units of [0, 1] pixels."""


def load(argument: str = "", *, classes: str = "0-9") -> DataSet:
    """Load the digits: 1,437 training and 360 test images of ten classes, float32 `(n, 8, 8, 1)` in [0, 1].

    Args:
        argument: Must be empty.
        classes: A range such as "0-4" keeps the images of these digits, with labels from 0.

    Raises:
        NotInstalledError: scikit-learn is not installed.
        SpecError: `classes` is no range of two or more digits.
    """
    first, last = _class_range(classes)
    nothing_after("digits", argument)
    with needs("digits", "scikit-learn"):
        table = _table()
    images = (table[:, :-1].reshape(-1, 8, 8, 1) / 16).astype(np.float32)  # grey values are whole numbers from 0 to 16
    labels = table[:, -1].astype(np.int64)
    validation = validation_mask(labels, VALIDATION)
    in_range = (first <= labels) & (labels <= last)
    parts = [
        Examples(images[in_range & part], labels[in_range & part] - first, last - first + 1, f"digits: {name}")
        for name, part in (("train", ~validation), ("test", validation))
    ]
    return dataset("digits", parts, "0123456789"[first : last + 1], changed({"classes": (classes, "0-9")}))


def _table() -> np.ndarray:
    """Return scikit-learn's table, `(1797, 65)`: the pixels of each image, then its digit; ImportError without it."""
    package = find_spec("sklearn")
    if package is None:
        raise ImportError("No module named 'sklearn'")
    for folder in package.submodule_search_locations or ():
        file = Path(folder) / _FILE
        # as `load_digits` reads it, but without the import of scikit-learn, SciPy and pandas: 2.6 s in every process
        if file.is_file():
            return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits  # a release that keeps the file elsewhere

    images, labels = load_digits(return_X_y=True)
    return np.column_stack([images, labels])


def _class_range(classes: str) -> tuple[int, int]:
    match = re.fullmatch("([0-9])-([0-9])", classes)
    if not match or match[1] >= match[2]:
        raise SpecError(f"data set 'digits': classes: expected two or more of 0-9, as 0-4, got {quoted(classes)}")
    return int(match[1]), int(match[2])


def validation_mask(labels: np.ndarray, size: int) -> np.ndarray:
    """Choose `size` examples at random, each class in proportion to its size.

    The choice depends on `labels` and `SEED` alone, on every machine and with every version of numpy.

    Args:
        labels: `(n,)` integers.
        size: Number of examples to choose. What proportion leaves over goes to the classes with the largest remainder,
            ties to the lower class.

    Returns:
        `(n,)` bool, True for the chosen examples.
    """
    counts = np.bincount(labels)
    shares = counts * size // len(labels)
    remainders = counts * size % len(labels)
    shares[np.argsort(-remainders, kind="stable")[: size - shares.sum()]] += 1
    # Raw output: numpy keeps it the same for ever, which it promises neither for `Generator.permutation` nor for
    # anything else that is drawn with it, and scikit-learn does not for its splitters.
    keys = np.random.PCG64(SEED).random_raw(len(labels))
    mask = np.zeros(len(labels), dtype=bool)
    for label, share in enumerate(shares):
        members = np.flatnonzero(labels == label)
        mask[members[np.argsort(keys[members], kind="stable")[:share]]] = True
    return mask
