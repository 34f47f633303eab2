"""Caltech-256: photographs in folders NNN.name, with a split of our own, because the release has none."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from sat_core.data import DataSet
from sat_core.errors import DataError
from sat_datasets.catalogue import root
from sat_datasets.digits import validation_mask
from sat_datasets.named import absent, changed, choice, dataset, remedy, streamed
from sat_datasets.stream import checked_size

FOLDER = "256_ObjectCategories"
CLASSES, IMAGES = 257, 30_607
"""Of the release, the clutter among them."""
_IMAGE = re.compile(r"\d{3}_\d{4}\.jpg")


def load(argument: str = "", *, clutter: str = "keep", size: str = "224") -> DataSet:
    """24,485 training and 6,122 test images of `size` x `size` pixels, sorted by class and name.

    Training has ⌊4/5⌋ of all images; the others are the test images, from each class in proportion, drawn as
    `sat_datasets.digits.validation_mask` says, with its seed. clutter ``drop`` leaves the last class out and
    changes nothing in the other 256. Grey photographs become RGB. What is in the release without being an image of it,
    such as 198.spider/RENAME2, is passed over.
    Raises DataError unless all 30,607 images are there: the split depends on each; NotInstalledError without Pillow.
    """
    choice("caltech256", "clutter", clutter, ("keep", "drop"))
    pixels = checked_size(size, "caltech256")
    folder = root("caltech256", argument)
    names = _classes(folder)
    files = [(file, label) for label, name in enumerate(names) for file in _images(folder, name)]
    if len(files) != IMAGES:
        raise DataError(
            f"{folder / FOLDER}: expected {IMAGES:,} images, got {len(files):,}\n{remedy('caltech256', folder, FOLDER)}"
        )
    labels = np.array([label for _, label in files])
    held = validation_mask(labels, IMAGES - IMAGES * 4 // 5)
    if clutter == "drop":
        names.pop()
    parts = []
    for part, mask in (("train", ~held), ("test", held)):
        taken = [files[i] for i in np.flatnonzero(mask & (labels < len(names)))]
        parts.append(streamed("caltech256", folder, part, taken, len(names), pixels))
    options = changed({"clutter": (clutter, "keep"), "size": (size, "224")})
    return dataset("caltech256", parts, [name.partition(".")[2] for name in names], options)


def _classes(folder: Path) -> list[str]:
    """Folders of the classes, in the order of their numbers, which start at 1."""
    if not (folder / FOLDER).is_dir():
        raise absent("caltech256", folder, FOLDER)
    names = sorted(
        path.name for path in (folder / FOLDER).iterdir() if re.match(r"\d{3}\.", path.name) and path.is_dir()
    )
    numbers = {int(name[:3]) for name in names}
    for number in range(1, CLASSES + 1):
        if number not in numbers:
            raise absent("caltech256", folder, f"{FOLDER}/{number:03d}.*")
    if len(names) != CLASSES:
        raise DataError(
            f"{folder / FOLDER}: expected {CLASSES} folders NNN.name, got {len(names)}\n"
            f"{remedy('caltech256', folder, FOLDER)}"
        )
    return names


def _images(folder: Path, name: str) -> list[str]:
    paths = sorted(path.name for path in (folder / FOLDER / name).iterdir() if _IMAGE.fullmatch(path.name))
    return [f"{FOLDER}/{name}/{path}" for path in paths]
