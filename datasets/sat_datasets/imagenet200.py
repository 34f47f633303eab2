"""ImageNet-200: the photographs of 200 classes of ILSVRC2012, in torchvision's layout."""

from __future__ import annotations

import os
import warnings
from importlib import resources
from pathlib import Path

from sat_core.data import DataSet
from sat_core.errors import DataError
from sat_datasets.catalogue import catalogue_entry, root
from sat_datasets.named import changed, choice, dataset, streamed
from sat_datasets.stream import checked_size

WNIDS: tuple[str, ...] = tuple((resources.files("sat_datasets") / "wnids.txt").read_text().split())
"""WordNet numbers of the 200 classes of ImageNet-A, sorted; the label of a class is its position."""
SUFFIXES = (".jpeg", ".jpg")
HOW = "place ILSVRC2012 there as train/nXXXXXXXX/*.JPEG and val/nXXXXXXXX/*.JPEG, or say imagenet200:FOLDER"


def load(argument: str = "", *, partial: str = "refuse", size: str = "224") -> DataSet:
    """Load ImageNet-200: 259,906 training and 10,000 test images, sorted by class and name.

    The order is that of torchvision's ImageFolder over these classes, by which the published rankings count. The other
    800 classes may lie in the same folders.

    Args:
        argument: The folder; by default the one of `sat_datasets.catalogue.root`.
        partial: "refuse", or "allow" to get a warning instead of an error for another number of images.
        size: Pixels of a side.

    Raises:
        DataError: A class is missing, or the number of images differs.
        NotInstalledError: Pillow is not installed.
        SpecError: An option has a value that it cannot have.
    """
    choice("imagenet200", "partial", partial, ("refuse", "allow"))
    pixels = checked_size(size, "imagenet200")
    folder = root("imagenet200", argument)
    entry = catalogue_entry("imagenet200")
    parts = []
    for part, title, expected in (("train", "training", entry.train), ("val", "validation", entry.test)):
        files = _files(folder, part)
        if len(files) != expected:
            _refuse_or_warn(f"{folder / part}: expected {expected:,} {title} images, got {len(files):,}", partial)
        parts.append(streamed("imagenet200", folder, part, files, len(WNIDS), pixels))
    options = changed({"partial": (partial, "refuse"), "size": (size, "224")})
    return dataset("imagenet200", parts, WNIDS, options)


def _files(folder: Path, part: str) -> list[tuple[str, int]]:
    """Return paths relative to `folder` with labels, sorted by class and name."""
    classes = {wnid: _images(folder / part / wnid) for wnid in WNIDS}
    missing = [wnid for wnid, images in classes.items() if not images]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise DataError(
            f"{folder / part}: expected images of {len(WNIDS)} classes, got none of "
            f"{', '.join(missing[:3])}{more}\n{HOW}"
        )
    return [(f"{part}/{wnid}/{image}", label) for label, wnid in enumerate(WNIDS) for image in classes[wnid]]


def _images(folder: Path) -> list[str]:
    """Return the names of the images of a class, sorted; none if it has no folder."""
    if not folder.is_dir():
        return []
    # macOS leaves ._NAME.JPEG beside a file, which torchvision would count as an image.
    return sorted(name for name in os.listdir(folder) if name.lower().endswith(SUFFIXES) and not name.startswith("."))


def _refuse_or_warn(message: str, partial: str) -> None:
    if partial == "refuse":
        raise DataError(f"{message}\n?partial=allow takes what is there; published rankings do not fit it")
    warnings.warn(message, stacklevel=3)
