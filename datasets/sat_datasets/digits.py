"""The 1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn, in one fixed split."""

from __future__ import annotations

import re

import numpy as np

from sat_core.data import DataSet, Examples
from sat_core.errors import SpecError, quoted
from sat_datasets.catalogue import about
from sat_datasets.named import changed, dataset, needs, nothing_after

VALIDATION = 360
"""Images for validation; the other 1,437 are for training."""
SEED = 0
MEAN, STD = about("digits").mean, about("digits").std
"""Of the training images, in units of [0, 1] pixels."""


def load(argument: str = "", *, classes: str = "0-9") -> DataSet:
    """1,437 training and 360 validation images, float32 `(n, 8, 8, 1)` in [0, 1] (sixteenths), ten classes.

    `argument` has to be empty. classes: ``0-4`` keeps the images of these five, with labels from 0. Raises
    NotInstalledError without scikit-learn, SpecError for `classes` that are no range.
    """
    first, last = _range(classes)
    nothing_after("digits", argument)
    with needs("digits", "scikit-learn"):
        from sklearn.datasets import load_digits
    digits = load_digits()
    images = (digits.images[..., None] / 16).astype(np.float32)
    labels = digits.target.astype(np.int64)
    validation = validation_mask(labels, VALIDATION)
    kept = (first <= labels) & (labels <= last)
    parts = [
        Examples(images[kept & part], labels[kept & part] - first, last - first + 1, f"digits: {name}")
        for name, part in (("train", ~validation), ("test", validation))
    ]
    return dataset("digits", parts, "0123456789"[first : last + 1], changed({"classes": (classes, "0-9")}))


def _range(classes: str) -> tuple[int, int]:
    found = re.fullmatch("([0-9])-([0-9])", classes)
    if not found or found[1] >= found[2]:
        raise SpecError(f"data set 'digits': classes: expected two or more of 0-9, as 0-4, got {quoted(classes)}")
    return int(found[1]), int(found[2])


def validation_mask(labels: np.ndarray, size: int) -> np.ndarray:
    """`(n,)` bool, True for `size` examples, each class in proportion (largest remainder, ties to the lower class).

    Which ones is a function of `labels` and the seed alone: numpy keeps the raw output of its bit generators the
    same for ever, unlike what its generators and scikit-learn's splitters draw with it.
    """
    counts = np.bincount(labels)
    shares = counts * size // len(labels)
    remainders = counts * size % len(labels)
    shares[np.argsort(-remainders, kind="stable")[: size - shares.sum()]] += 1
    keys = np.random.PCG64(SEED).random_raw(len(labels))
    mask = np.zeros(len(labels), dtype=bool)
    for label, share in enumerate(shares):
        members = np.flatnonzero(labels == label)
        mask[members[np.argsort(keys[members], kind="stable")[:share]]] = True
    return mask
