"""What a plan has to know of a data set: how many images of which size. No image is read for it."""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path
from typing import final

import attrs
import numpy as np

from sat_core.datasets import DATASETS, get_dataset, split_name
from sat_core.errors import DataError, SpecError, brief
from sat_core.protocols import PROTOCOLS
from sat_datasets.catalogue import CATALOGUE
from sat_evaluation.results.text import public_name

_SHAPES = {"digits": (8, 8, 1), "mnist5k": (28, 28, 1)}
_PHOTO, _SMALL = (224, 224, 3), (32, 32, 3)
_SHAPES |= dict.fromkeys(("cifar10", "cifar100", "svhn"), _SMALL)
_SHAPES |= dict.fromkeys(("flowers102", "caltech256", "imagenet200"), _PHOTO)


@final
@attrs.frozen(kw_only=True)
class Facts:
    """The size of a data set.

    Attributes:
        name: Of the data set, without folders.
        train, test, validation: Numbers of images; the last is 0 where test images pick the epoch.
        classes: Number of classes.
        image_shape: `(h, w, c)`, as the network takes them.
        assumed: What was taken for granted, in a sentence; empty if the data are known.
    """

    name: str
    train: int
    test: int
    validation: int = 0
    classes: int
    image_shape: tuple[int, int, int]
    assumed: str = ""

    def resized(self, image_shape: tuple[int, int, int]) -> Facts:
        """Return those of the target of a transfer, whose images get the shape of the source's."""
        return attrs.evolve(self, image_shape=image_shape)


def facts_of(name: str) -> Facts:
    """Return the facts of a data set.

    Of named data sets they are in the catalogue, of ``npz:`` in the headers of the file; files of ``folder:`` are
    counted. Data sets of plug-ins, and named ones with a part of the classes, are loaded.

    Args:
        name: As in ``data.name``.

    Raises:
        SatError: The data set does not exist. An ``npz:`` whose file is not there yet, but begins with the name of a
            data set, as in ``npz:cifar10.npz``, is taken for that one, and `Facts.assumed` says so.
    """
    head, path, options = split_name(name)
    if head not in DATASETS:
        DATASETS.get(head)  # for its error
    if head in CATALOGUE and not options.keys() - {"size", "protocol"}:
        return _known(name, head, options)
    if head == "npz" and path:
        return _npz(name, Path(path).expanduser())
    if head == "folder" and options.keys() == {"size"} and options["size"].isdecimal():
        counted = _folder(Path(path).expanduser(), int(options["size"]))
        if counted is not None:
            return counted
    data = get_dataset(name)
    return Facts(
        name=public_name(name),
        train=len(data.train),
        test=len(data.test),
        validation=len(data.validation) if data.validation else 0,
        classes=data.classes,
        image_shape=data.image_shape,
    )


def target_facts(protocol: str, target: str, image_shape: tuple[int, int, int]) -> Facts:
    """Return the facts of the target of a transfer, as the protocol reads it and with the source's image shape."""
    return facts_of(PROTOCOLS.get(protocol).data(target)).resized(image_shape)


def _known(name: str, head: str, options: dict[str, str]) -> Facts:
    entry, (height, width, channels) = CATALOGUE[head], _SHAPES[head]
    if "size" in options:
        if not options["size"].isdecimal() or not int(options["size"]):
            raise SpecError(f"data set {head!r}: size: expected pixels of a side, got {options['size']!r}")
        height = width = int(options["size"])
    # under the authors' protocol, Flowers-102 reports on the images that pick the epoch (docs/PROTOCOLS.md, (i))
    test = entry.validation if options.get("protocol") == "authors" else entry.test
    return Facts(
        name=public_name(name),
        train=entry.train,
        test=test,
        validation=entry.validation,
        classes=entry.classes,
        image_shape=(height, width, channels),
    )


def _npz(name: str, path: Path) -> Facts:
    if not path.exists():
        return _absent(name, path)
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = {each.removesuffix(".npy") for each in archive.namelist()}
            train, test, own = (
                _shape(archive, f"x_{part}") if f"x_{part}" in arrays else (0,) for part in ("train", "test", "val")
            )
            with archive.open("y_train.npy") as file:
                classes = int(np.lib.format.read_array(file, allow_pickle=False).max()) + 1
        height, width, channels = (*train[1:], 1)[:3]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path}: expected the arrays x_train, y_train, x_test and y_test ({brief(error)})\n"
            "make the file as docs/data.md says"
        ) from error
    return Facts(
        name=public_name(name),
        train=train[0],
        test=test[0],
        validation=own[0],
        classes=classes,
        image_shape=(height, width, channels),
    )


def _shape(archive: zipfile.ZipFile, array: str) -> tuple[int, ...]:
    """Return the shape of an array by the header of its file."""
    with archive.open(f"{array}.npy") as file:
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, _ = read[np.lib.format.read_magic(file)](file)
    return tuple(shape)


def _absent(name: str, path: Path) -> Facts:
    match = re.match("|".join(sorted(CATALOGUE, key=len, reverse=True)), path.stem)
    if not match:
        raise DataError(
            f"{path}: expected the data set {name!r}, got no file of that name\n"
            "a plan needs its header; make the file, or plan another data set: --set data.name=cifar10"
        )
    known = CATALOGUE[match[0]]
    shape = _SHAPES[known.name]
    sides = re.search(r"(\d+)x(\d+)", path.stem)
    if sides:
        shape = (int(sides[1]), int(sides[2]), shape[2])
    return Facts(
        name=public_name(name),
        train=known.train,
        test=known.test,
        classes=known.classes,
        image_shape=shape,
        assumed=f"{path.name} is not there: planned with the number of images of {known.title}; a run needs the file",
    )


def _folder(root: Path, size: int) -> Facts | None:
    """Count the files of an image folder; None if it is not laid out in the plain way, or not there."""
    try:
        folders = {part: root / part for part in ("train", "test", "val") if (root / part).is_dir()}
        if not {"train", "test"} <= {*folders}:
            return None
        counts = {part: _count(folder) for part, folder in folders.items()}
        classes = sum(entry.is_dir() and not entry.name.startswith(".") for entry in os.scandir(root / "train"))
    except OSError:
        return None
    return Facts(
        name=f"folder:{root.name}",
        train=counts["train"],
        test=counts["test"],
        validation=counts.get("val", 0),
        classes=classes,
        image_shape=(size, size, 3),
    )


def _count(part: Path) -> int:
    return sum(not name.startswith(".") for _, _, names in os.walk(part) for name in names)
