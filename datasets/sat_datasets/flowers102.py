"""Oxford Flowers, 102 classes: photographs that are decoded when they are needed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sat_core.data import DataSet
from sat_datasets.catalogue import root
from sat_datasets.named import absent, changed, choice, dataset, needs, streamed
from sat_datasets.releases import check_sums
from sat_datasets.stream import checked_size

JPG = "flowers-102/jpg"
CLASSES = 102


def load(argument: str = "", *, protocol: str = "paper", size: str = "224") -> DataSet:
    """Load Oxford Flowers: 1,020 training, 1,020 validation and 6,149 test images, in the order of setid.mat.

    Args:
        argument: The folder; by default the one of `sat_datasets.catalogue.root`.
        protocol: "paper", or "authors" to compare with the published table, with two errors of the released code: it
            evaluates on the validation images, and it mistakes the number of an image, which starts at 1, for a
            position, which starts at 0, so that every image gets the label of the next one.
        size: Pixels of a side.

    Raises:
        DataError: A file is missing or is not the published one.
        NotInstalledError: torchvision, scipy or Pillow is not installed.
        SpecError: An option has a value that it cannot have.
    """
    choice("flowers102", "protocol", protocol, ("paper", "authors"))
    pixels = checked_size(size, "flowers102")
    folder = root("flowers102", argument)
    check_sums("flowers102", folder)
    with needs("flowers102", "torchvision and scipy"):
        # torchvision imports it only when it reads the labels, where its own message does not say what to install.
        import scipy.io  # noqa: F401
        from torchvision.datasets import Flowers102
    if not (folder / JPG).is_dir():
        raise absent("flowers102", folder, JPG)
    train, validation, test = (_labels(Flowers102(folder, split=split)) for split in ("train", "val", "test"))
    labels = train | validation | test
    _check_images(folder, labels)
    if protocol == "authors":
        test = validation
        labels = _labels_of_next(labels)
    parts = [
        streamed("flowers102", folder, part, [(file, labels[file]) for file in files], CLASSES, pixels)
        for part, files in (("train", train), ("test", test), ("validation", validation))
    ]
    # Older releases of torchvision do not have the names.
    names = getattr(Flowers102, "classes", [str(number) for number in range(1, CLASSES + 1)])
    options = changed({"protocol": (protocol, "paper"), "size": (size, "224")})
    return dataset("flowers102", parts, names, options)


def _labels(release: Any) -> dict[str, int]:
    """Map the files of one part of torchvision's data set, in its order, to labels."""
    # Private attributes: the public way to labels decodes every image.
    files = [f"{JPG}/{Path(path).name}" for path in release._image_files]
    return dict(zip(files, map(int, release._labels), strict=True))


def _labels_of_next(labels: dict[str, int]) -> dict[str, int]:
    """Give every file the label of the one whose number is one higher; the last file keeps its own."""
    # Numbers in the names have leading zeros, so this is their order. The code's look-up would run past the end for the
    # last image, number 8189.
    files = sorted(labels)
    return {file: labels[after] for file, after in zip(files, [*files[1:], files[-1]], strict=True)}


def _check_images(folder: Path, files: dict[str, int]) -> None:
    # The archive has a published MD5 sum, but not the files that it unpacks to: at least none may be missing.
    present = {f"{JPG}/{name}" for name in os.listdir(folder / JPG)}
    for file in files:
        if file not in present:
            raise absent("flowers102", folder, file)
