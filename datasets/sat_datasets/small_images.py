"""CIFAR-10, CIFAR-100 and SVHN: images of 32 x 32 pixels in the order of their releases, read by torchvision."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sat_core.data import DataSet, Examples
from sat_datasets.catalogue import root
from sat_datasets.named import dataset, needs
from sat_datasets.releases import check_sums


def load_cifar10(argument: str = "") -> DataSet:
    """Load CIFAR-10: 50,000 training and 10,000 test images of ten classes, uint8 `(n, 32, 32, 3)`.

    Examples are numbered as in the release, by torchvision, and in the published rankings.

    Args:
        argument: The folder; by default the one of `sat_datasets.catalogue.root`.

    Raises:
        DataError: A file is missing or is not the published one; the message names it.
        NotInstalledError: torchvision is not installed.
    """
    return _cifar("cifar10", argument)


def load_cifar100(argument: str = "") -> DataSet:
    """Load CIFAR-100 with its 100 fine labels; otherwise as `load_cifar10`."""
    return _cifar("cifar100", argument)


def load_svhn(argument: str = "") -> DataSet:
    """Load SVHN: 73,257 training and 26,032 test images, uint8 `(n, 32, 32, 3)`, in the order of the release.

    Class k is the digit k; the release labels the digit 0 with 10. The part `extra` of the release is not used.

    Args:
        argument: The folder; by default the one of `sat_datasets.catalogue.root`.

    Raises:
        DataError: A file is missing or is not the published one; the message names it.
        NotInstalledError: torchvision or scipy is not installed.
    """
    folder = _checked("svhn", argument)
    with needs("svhn", "torchvision and scipy"):
        # torchvision imports it only when it reads the files, where its own message does not say what to install.
        import scipy.io  # noqa: F401
        from torchvision.datasets import SVHN
    parts = []
    for part in ("train", "test"):
        release = SVHN(folder, split=part)
        images = np.ascontiguousarray(release.data.transpose(0, 2, 3, 1))
        parts.append(Examples(images, release.labels, 10, f"svhn: {part}"))
    return dataset("svhn", parts, "0123456789")


def _cifar(name: str, argument: str) -> DataSet:
    folder = _checked(name, argument)
    with needs(name, "torchvision"):
        from torchvision.datasets import CIFAR10, CIFAR100
    release = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]
    train, test = release(folder, train=True), release(folder, train=False)
    names = tuple(train.classes)
    parts = []
    for part, data in (("train", train), ("test", test)):
        images, labels = np.ascontiguousarray(data.data), np.array(data.targets)
        parts.append(Examples(images, labels, len(names), f"{name}: {part}"))
    return dataset(name, parts, names)


def _checked(name: str, argument: str) -> Path:
    """Return the folder of a data set after checking the MD5 sum of every file in it."""
    folder = root(name, argument)
    # CIFAR's files are pickles, which can run any code: torchvision unpickles them only if they are the published ones.
    check_sums(name, folder)
    return folder
