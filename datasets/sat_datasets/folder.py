"""A data set as a tree of image files: PATH/train/CLASS/..., PATH/test/CLASS/... and perhaps PATH/val/CLASS/..."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sat_core.array_data import mean_and_std
from sat_core.data import DataSet, Examples
from sat_core.errors import DataError
from sat_core.images import refuse_broken
from sat_datasets.decode import Faults, need_pillow, read_image
from sat_datasets.statistics import IMAGENET_MEAN, IMAGENET_STD
from sat_datasets.stream import FileImages, checked_size

VALIDATION = ("val", "valid", "validation")
"""Folders of validation images; a tree has at most one."""
LEFT_BEHIND = (
    "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "$recycle.bin", "system volume information",
    "lost+found", "@eadir",
)  # fmt: skip
"""What Windows, macOS and file servers leave in folders, in lower case; hidden files are skipped besides."""


def load(argument: str, *, size: str = "") -> DataSet:
    """The data set in the folder `argument`: uint8 `(n, h, w, c)`, classes and files in the order of their names.

    Without `size` all images are read at once and have to be of one size; c = 1 where no image has colour, otherwise 3,
    and mean and std are the training images'. With `size`, images of any size are decoded when they are needed and
    scaled to squares of that many pixels; c = 3, and mean and std are those in use for ImageNet.

    The images in ``val`` (or ``valid``, ``validation``) pick the epoch; in a tree without ``test``, such as ImageNet's,
    they are the test images, and the data set has a note that says so. Folders inside a class belong to it; files that
    are hidden or left behind by a system are skipped. Formats: `sat_datasets.decode`. Raises DataError, naming the
    file, for what is no image, of another size than the first or outside the tree; NotInstalledError without Pillow.
    """
    if not argument:
        raise DataError("data set 'folder': expected folder:PATH, got no path")
    need_pillow("folder")
    root = Path(argument).expanduser().resolve()
    names = [folder.name for folder in class_folders(root / "train")]
    test, validation = _evaluated(root)
    parts = ["train", test, *([validation] if validation else [])]
    listed = [_files(root, part, names) for part in parts]
    bounds = np.cumsum([len(files) for files in listed])[:-1]
    paths = [path for files in listed for path, _ in files]
    images: Sequence[np.ndarray | FileImages]
    if size:
        pixels = checked_size(size, "folder")
        images = [FileImages(root, [path.relative_to(root).as_posix() for path, _ in f], pixels) for f in listed]
        mean, std = IMAGENET_MEAN, IMAGENET_STD
    else:
        images = np.split(_read(paths), bounds)
        mean, std = mean_and_std(images[0])
    examples = [
        Examples(part_images, np.array([label for _, label in files]), len(names), f"{root / part}")
        for part, part_images, files in zip(parts, images, listed, strict=True)
    ]
    return DataSet(
        name=f"folder:{argument}" + (f"?size={size}" if size else ""),
        train=examples[0],
        test=examples[1],
        validation=examples[2] if validation else None,
        class_names=tuple(names),
        mean=mean,
        std=std,
        notes=() if test == "test" else (f"{root} has no folder test: the images in {test} are the test images",),
    )


def _evaluated(root: Path) -> tuple[str, str]:
    """The folders with the test images and with those that pick the epoch; the latter may be missing: ''."""
    there = [part for part in VALIDATION if os.path.lexists(root / part)]
    if len(there) > 1:
        raise DataError(f"{root}: expected one folder of validation images, got {' and '.join(there)}; rename one")
    validation = there[0] if there else ""
    if validation and not os.path.lexists(root / "test"):
        return validation, ""
    return "test", validation


def class_folders(part: Path) -> list[Path]:
    """The folders of the classes in `part`, sorted; two whose names differ only in case are refused."""
    if part.is_symlink() or not part.is_dir():
        there = [path.name for path in sorted(part.parent.iterdir()) if path.is_dir()] if part.parent.is_dir() else []
        beside = f"; {part.parent} has {', '.join(map(repr, there[:5]))}" if there else ""
        got = "a link" if part.is_symlink() else f"none{beside}"
        raise DataError(f"{part}: expected a folder with a folder for each class, got {got}")
    folders = _visible(part, part.parent)
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder}: expected a folder for each class in {part}, got a file")
    if not folders:
        raise DataError(f"{part}: expected a folder for each class, got none")
    alike = {_alike(folder.name): folder.name for folder in folders}
    for folder in folders:
        if alike[_alike(folder.name)] != folder.name:
            raise DataError(
                f"{folder}: expected class names that differ in more than case, spaces or Unicode form, got "
                f"{alike[_alike(folder.name)]!r}, too\nmost likely they are one class: rename or merge the folders"
            )
    return folders


def _alike(name: str) -> str:
    """The same for names that look the same: macOS writes é as two characters, others as one."""
    return " ".join(unicodedata.normalize("NFC", name.casefold()).split())


def _files(root: Path, part: str, names: list[str]) -> list[tuple[Path, int]]:
    """Paths with labels, in the order of class and path."""
    found = []
    for folder in class_folders(root / part):
        if folder.name not in names:
            same = next((f", which is {name!r} there" for name in names if _alike(name) == _alike(folder.name)), "")
            raise DataError(f"{folder}: expected one of the classes in {root / 'train'}, got {folder.name!r}{same}")
        files = sorted(_below(folder, root), key=lambda path: path.relative_to(folder).as_posix())
        if not files:
            raise DataError(f"{folder}: expected at least one image, got none")
        found += [(path, names.index(folder.name)) for path in files]
    return found


def _below(folder: Path, root: Path) -> list[Path]:
    files: list[Path] = []
    for path in _visible(folder, root):
        files += _below(path, root) if path.is_dir() else [path]
    return files


def _visible(folder: Path, root: Path) -> list[Path]:
    """What is in a folder, sorted, without what is hidden or left behind by a system; links lead to files in `root`."""
    try:
        entries = sorted(p for p in folder.iterdir() if p.name[0] != "." and p.name.lower() not in LEFT_BEHIND)
    except OSError as error:
        raise DataError(f"{folder}: expected a folder that can be read, got an error ({error.strerror})") from error
    for path in entries:
        if not path.name.isprintable():
            raise DataError(
                f"{folder}: expected names of printable text in UTF-8, got {os.fsencode(path.name)!r}; rename it"
            )
        if path.is_symlink():
            target = Path(os.path.realpath(path))
            if not target.is_relative_to(root) or not target.is_file():
                raise DataError(f"{path}: expected links to files inside {root}, got one to {target}")
    return entries


def _read(paths: list[Path]) -> np.ndarray:
    """All images, `(n, h, w, c)` uint8."""
    pixels: list[np.ndarray] = []
    faults = Faults()
    for path in paths:
        with faults:
            pixels.append(read_image(path))
    refuse_broken(faults.found, len(paths))
    first_h, first_w = pixels[0].shape[:2]
    for path, array in zip(paths, pixels, strict=True):
        h, w = array.shape[:2]
        if (h, w) != (first_h, first_w):
            raise DataError(
                f"{path}: expected images of one size, got {w} x {h}\n"
                f"and {first_w} x {first_h} (width x height) in {paths[0]}\nor folder:PATH?size=N, which scales them"
            )
    channels = max(array.shape[2] for array in pixels)
    images = np.empty((len(pixels), *pixels[0].shape[:2], channels), dtype=np.uint8)
    for image, array in zip(images, pixels, strict=True):
        image[:] = array
    return images
