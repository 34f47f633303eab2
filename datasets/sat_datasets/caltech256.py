"""Caltech-256: photographs in folders NNN.name, in a split of our own because the release has none."""

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
"""Numbers of the release, clutter included."""
_IMAGE = re.compile(r"\d{3}_\d{4}\.jpg")


def load(argument: str = "", *, clutter: str = "keep", size: str = "224") -> DataSet:
    """Load Caltech-256: 24,485 training and 6,122 test images, sorted by class and name.

    ⌊4/5⌋ of all images are for training. The test images are chosen by `sat_datasets.digits.validation_mask`, from each
    class in proportion. Grey photographs become RGB. Stray files of the release, such as 198.spider/RENAME2, are
    skipped.

    Args:
        argument: The folder; by default the one of `sat_datasets.catalogue.root`.
        clutter: "keep", or "drop" to leave out the class `clutter`; the split of the other 256 stays the same.
        size: Pixels of a side.

    Raises:
        DataError: One of the 30,607 images is missing; the split depends on every one.
        NotInstalledError: Pillow is not installed.
        SpecError: An option has a value that it cannot have.
    """
    choice("caltech256", "clutter", clutter, ("keep", "drop"))
    pixels = checked_size(size, "caltech256")
    folder = root("caltech256", argument)
    names = _classes(folder)
    files = [(file, label) for label, name in enumerate(names) for file in _images(folder, name)]
    # The test images are drawn over the whole list: with one file less, every later image could change sides.
    if len(files) != IMAGES:
        raise DataError(
            f"{folder / FOLDER}: expected {IMAGES:,} images, got {len(files):,}\n{remedy('caltech256', folder, FOLDER)}"
        )
    labels = np.array([label for _, label in files])
    # 80/20 is INFERRED from the code's counts of steps; its lists and its seed are not public (PROTOCOLS.md).
    is_test = validation_mask(labels, IMAGES - IMAGES * 4 // 5)
    if clutter == "drop":
        # Clutter is the last class. It goes after the split is drawn, which so stays that of the other 256.
        names.pop()
    parts = []
    for part, mask in (("train", ~is_test), ("test", is_test)):
        part_files = [files[i] for i in np.flatnonzero(mask & (labels < len(names)))]
        parts.append(streamed("caltech256", folder, part, part_files, len(names), pixels))
    options = changed({"clutter": (clutter, "keep"), "size": (size, "224")})
    return dataset("caltech256", parts, [name.partition(".")[2] for name in names], options)


def _classes(folder: Path) -> list[str]:
    """Return the folders of the classes in the order of their numbers, which start at 1."""
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
