"""CIFAR-10, CIFAR-100 and SVHN: images of 32 x 32 pixels, in the order of their releases, read by torchvision."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sat_core.data import DataSet, Examples
from sat_datasets.catalogue import root
from sat_datasets.named import dataset, needs
from sat_datasets.releases import check_sums


def load_cifar10(argument: str = "") -> DataSet:
    """50,000 training and 10,000 test images, uint8 `(n, 32, 32, 3)`, ten classes.

    Example i is the release's i-th, which torchvision and the published rankings count alike. The files are pickles:
    nothing is unpickled before each has the MD5 sum that the release has.
    Raises DataError, naming the file, where one is missing or another; NotInstalledError without torchvision.
    """
    return _cifar("cifar10", argument)


def load_cifar100(argument: str = "") -> DataSet:
    """The same with 100 classes, the fine labels of the release."""
    return _cifar("cifar100", argument)


def load_svhn(argument: str = "") -> DataSet:
    """73,257 training and 26,032 test images, uint8 `(n, 32, 32, 3)`; class k is the digit k.

    Order as in the release, whose label 10 for the digit 0 becomes 0. Its third part, `extra`, is left out.
    Raises as `load_cifar10`, also NotInstalledError without scipy.
    """
    folder = _checked("svhn", argument)
    with needs("svhn", "torchvision and scipy"):
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
    for part, read in (("train", train), ("test", test)):
        images, labels = np.ascontiguousarray(read.data), np.array(read.targets)
        parts.append(Examples(images, labels, len(names), f"{name}: {part}"))
    return dataset(name, parts, names)


def _checked(name: str, argument: str) -> Path:
    """The folder of the data set, after every file in it was found to be the published one."""
    folder = root(name, argument)
    check_sums(name, folder)
    return folder
