"""A data set as a tree of image files, in any format that Pillow opens: PATH/train/CLASS/... and PATH/test/CLASS/..."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from sat_core.data import DataSet, Examples
from sat_core.errors import DataError
from sat_core.images import refuse_broken
from sat_datasets.decode import Faults, need_pillow, read_image
from sat_datasets.statistics import IMAGENET_MEAN, IMAGENET_STD, mean_and_std
from sat_datasets.stream import FileImages, checked_size


def load(argument: str, *, size: str = "") -> DataSet:
    """The data set in the folder `argument`: uint8 `(n, h, w, c)`, classes and files in the order of their names.

    Without `size` all images are read at once and have to be of one size; c = 1 where no image has colour, otherwise 3,
    and mean and std are the training images'. With `size`, images of any size are decoded when they are needed and
    scaled to squares of that many pixels; c = 3, and mean and std are those in use for ImageNet.

    Folders inside a class belong to it, hidden files are left out. How a file is decoded, see `sat_datasets.decode`.
    Raises DataError, naming the file, for what is no image, of another size than the first or outside the tree;
    NotInstalledError without Pillow.
    """
    if not argument:
        raise DataError("data set 'folder': expected folder:PATH, got no path")
    need_pillow("folder")
    root = Path(argument).expanduser().resolve()
    names = [folder.name for folder in class_folders(root / "train")]
    parts = {part: _files(root, part, names) for part in ("train", "test")}
    paths = [path for files in parts.values() for path, _ in files]
    labels = np.array([label for files in parts.values() for _, label in files])
    count = len(parts["train"])
    train: np.ndarray | FileImages
    test: np.ndarray | FileImages
    if size:
        pixels = checked_size(size, "folder")
        files = [path.relative_to(root).as_posix() for path in paths]
        train, test = (FileImages(root, part, pixels) for part in (files[:count], files[count:]))
        mean, std = IMAGENET_MEAN, IMAGENET_STD
    else:
        images = _read(paths)
        train, test = images[:count], images[count:]
        mean, std = mean_and_std(images[:count])
    return DataSet(
        name=f"folder:{argument}" + (f"?size={size}" if size else ""),
        train=Examples(train, labels[:count], len(names), f"{root / 'train'}"),
        test=Examples(test, labels[count:], len(names), f"{root / 'test'}"),
        class_names=tuple(names),
        mean=mean,
        std=std,
    )


def class_folders(part: Path) -> list[Path]:
    """The folders of the classes in `part`, sorted; two whose names differ only in case are refused."""
    if part.is_symlink() or not part.is_dir():
        raise DataError(
            f"{part}: expected a folder with a folder for each class, got {'a link' if part.is_symlink() else 'none'}"
        )
    folders = _visible(part, part.parent)
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder}: expected a folder for each class in {part}, got a file")
    if not folders:
        raise DataError(f"{part}: expected a folder for each class, got none")
    alike = {folder.name.casefold(): folder.name for folder in folders}
    for folder in folders:
        if alike[folder.name.casefold()] != folder.name:
            raise DataError(
                f"{folder}: expected class names that differ in more than case, got {alike[folder.name.casefold()]!r}, "
                "too\nmost likely they are one class: rename or merge the folders"
            )
    return folders


def _files(root: Path, part: str, names: list[str]) -> list[tuple[Path, int]]:
    """Paths with labels, in the order of class and path."""
    found = []
    for folder in class_folders(root / part):
        if folder.name not in names:
            raise DataError(f"{folder}: expected one of the classes in {root / 'train'}, got {folder.name!r}")
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
    """What is in a folder and not hidden, sorted; a link must be one to a file inside `root`."""
    try:
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
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
