"""A data set as a tree of image files, in any format that Pillow opens: PATH/train/CLASS/... and PATH/test/CLASS/..."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sat_core.data import DataSet, Examples
from sat_core.errors import DataError, NotInstalledError
from sat_datasets.statistics import mean_and_std

if TYPE_CHECKING:
    from PIL import Image

GREY = ("1", "L", "LA")
"""Pillow's modes of images without colour; those of 16 bits are beside them."""


def load(argument: str) -> DataSet:
    """The data set in the folder `argument`: uint8 `(n, h, w, c)`, classes and files in the order of their names.

    c = 1 where no image has colour, otherwise 3. EXIF orientation is honoured, transparency lies on black, 16-bit grey
    is rounded to 8, all else goes through Pillow's conversion to RGB; of an animation the first frame is taken. Folders
    inside a class belong to it, hidden files are left out. mean and std are the training images'.
    Raises DataError, naming the file, for what is no image, of another size than the first or outside the tree;
    NotInstalledError without Pillow.
    """
    if not argument:
        raise DataError("data set 'folder': expected folder:PATH, got no path")
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise NotInstalledError("data set 'folder' needs Pillow: pip install 'sat-core[data]'") from error
    root = Path(argument).expanduser().resolve()
    names = [folder.name for folder in _class_folders(root / "train")]
    parts = {part: _files(root, part, names) for part in ("train", "test")}
    images = _read([path for files in parts.values() for path, _ in files])
    labels = np.array([label for files in parts.values() for _, label in files])
    count = len(parts["train"])
    mean, std = mean_and_std(images[:count])
    return DataSet(
        name=f"folder:{argument}",
        train=Examples(images[:count], labels[:count], len(names), f"{root / 'train'}"),
        test=Examples(images[count:], labels[count:], len(names), f"{root / 'test'}"),
        class_names=tuple(names),
        mean=mean,
        std=std,
    )


def _class_folders(part: Path) -> list[Path]:
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
    return folders


def _files(root: Path, part: str, names: list[str]) -> list[tuple[Path, int]]:
    """Paths with labels, in the order of class and path."""
    found = []
    for folder in _class_folders(root / part):
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
        if path.is_symlink():
            target = Path(os.path.realpath(path))
            if not target.is_relative_to(root) or not target.is_file():
                raise DataError(f"{path}: expected links to files inside {root}, got one to {target}")
    return entries


def _read(paths: list[Path]) -> np.ndarray:
    """All images, `(n, h, w, c)` uint8."""
    pixels = []
    for path in paths:
        pixels.append(_read_one(path))
        if pixels[-1].shape[:2] != pixels[0].shape[:2]:
            (h, w), (first_h, first_w) = pixels[-1].shape[:2], pixels[0].shape[:2]
            raise DataError(
                f"{path}: expected images of one size, got {w} x {h}\n"
                f"and {first_w} x {first_h} (width x height) in {paths[0]}"
            )
    channels = max(array.shape[2] for array in pixels)
    images = np.empty((len(pixels), *pixels[0].shape[:2], channels), dtype=np.uint8)
    for image, array in zip(images, pixels, strict=True):
        image[:] = array
    return images


def _read_one(path: Path) -> np.ndarray:
    """`(h, w, c)` uint8, c = 1 for an image without colour, else 3."""
    from PIL import Image, ImageOps

    if not path.is_file():
        raise DataError(f"{path}: expected an image, got something that is no file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return _pixels(ImageOps.exif_transpose(image))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except Exception as error:  # each format has errors of its own for a broken file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: expected an image that Pillow can read, got another file ({reason})") from error


def _pixels(image: Image.Image) -> np.ndarray:
    from PIL import Image

    if image.mode.startswith("I"):
        deep = np.asarray(image).astype(np.int64)[..., None]
        if deep.min() < 0 or deep.max() > 65535:
            raise DataError(f"expected grey values of 8 or 16 bits, got {deep.min()}..{deep.max()}")
        return ((deep + 128) // 257).astype(np.uint8)
    if image.mode == "F":
        raise DataError("expected an image of integers, got floating point (mode 'F'): its range is not known")
    grey = image.mode in GREY
    if image.has_transparency_data:
        transparent = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", transparent.size, (0, 0, 0, 255)), transparent)
    return np.asarray(image.convert("RGB"))[..., : 1 if grey else 3]
