"""A data set in folders of image files: PATH/train/CLASS/..., PATH/test/CLASS/... and, optional, PATH/val/CLASS/..."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from sat_core.array_data import mean_and_std
from sat_core.data import DataSet, Examples
from sat_core.errors import DataError, quoted
from sat_core.images import refuse_broken
from sat_datasets.catalogue import IMAGENET_MEAN, IMAGENET_STD
from sat_datasets.decode import BrokenFiles, need_pillow, read_image
from sat_datasets.label_file import labelled, read_labels
from sat_datasets.named import full_name
from sat_datasets.stream import FileImages, checked_size

VALIDATION = ("val", "valid", "validation")
"""Names that the folder of validation images may have; a data set has at most one."""
LEFT_BEHIND = (
    "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "$recycle.bin", "system volume information",
    "lost+found", "@eadir",
)  # fmt: skip
"""Files and folders that Windows, macOS and file servers create, in lower case; skipped, as hidden files are."""


def load(argument: str, *, size: str = "", test: str = "", labels: str = "") -> DataSet:
    """Load a data set of image files; classes and files are in the order of their names.

    The images in `val` (or `valid`, `validation`) pick the epoch. In a tree without `test`, such as ImageNet's, they
    are the test images, and the data set has a note that says so. Folders inside a class belong to it; hidden files and
    those that operating systems create are skipped. `sat_datasets.decode` lists the formats.

    Args:
        argument: Path of the folder.
        size: Pixels of a side. Images of any size are then decoded when they are needed and scaled to squares of three
            channels, with ImageNet's mean and standard deviation. Without it, all images are read at once and must be
            of one size; they have one channel if none has colour, and mean and standard deviation are those of the
            training images.
        test: Folder of the test images, as ``val`` in ImageNet's tree, whose ``test`` has no labels. By default
            ``test``, if it is there.
        labels: File with the classes of images for testing or validation that lie in no folders of classes, relative to
            the folder or absolute; see `sat_datasets.label_file`.

    Returns:
        A data set with images `(n, h, w, c)` uint8.

    Raises:
        DataError: A file is no image, has another size than the first, or leads out of the folder; a class is missing,
            empty or ambiguous. The message names it.
        NotInstalledError: Pillow is not installed.
    """
    if not argument:
        raise DataError("data set 'folder': expected folder:PATH, got no path")
    need_pillow("folder")
    # Resolved, or no link inside would seem to stay in the folder if the path itself has one.
    root = Path(argument).expanduser().resolve()
    names = [folder.name for folder in class_folders(root / "train")]
    asked, (test, validation) = test, _evaluation_folders(root, test)
    parts = ["train", test, *([validation] if validation else [])]
    files_of_parts = [_files(root, "train", names), *_evaluation_files(root, parts[1:], names, labels)]
    images: Sequence[np.ndarray | FileImages]
    if size:
        pixels = checked_size(size, "folder")
        images = [FileImages(root, [file for file, _ in files], pixels) for files in files_of_parts]
        mean, std = IMAGENET_MEAN, IMAGENET_STD
    else:
        bounds = np.cumsum([len(files) for files in files_of_parts])[:-1]
        images = np.split(_read([root / file for files in files_of_parts for file, _ in files]), bounds)
        # Of the training images alone: nothing of the test images enters the network.
        mean, std = mean_and_std(images[0])
    examples = [
        Examples(part_images, np.array([label for _, label in files]), len(names), f"{root / part}")
        for part, part_images, files in zip(parts, images, files_of_parts, strict=True)
    ]
    note = f"{root} has no folder test: the images in {test} are the test images"
    return DataSet(
        name=full_name("folder", argument, size=size, test=asked, labels=labels),
        train=examples[0],
        test=examples[1],
        validation=examples[2] if validation else None,
        class_names=tuple(names),
        mean=mean,
        std=std,
        notes=() if test in ("test", asked) else (note,),
    )


def _evaluation_folders(root: Path, test: str) -> tuple[str, str]:
    """Return the names of the folders with test and validation images; the latter is '' if there is none."""
    if Path(test).name != test or test in ("train", ".."):
        raise DataError(f"{root}: expected test=FOLDER, one of the folders in it beside train, got {quoted(test)}")
    # A link to nowhere counts, and is refused later, instead of changing silently which images are reported.
    present = [part for part in VALIDATION if os.path.lexists(root / part) and part != test]
    if len(present) > 1:
        raise DataError(f"{root}: expected one folder of validation images, got {' and '.join(present)}; rename one")
    validation = present[0] if present else ""
    if validation and not test and not os.path.lexists(root / "test"):
        return validation, ""
    return test or "test", validation


def _evaluation_files(root: Path, parts: list[str], names: list[str], labels: str) -> list[list[tuple[str, int]]]:
    """Return the files of the parts that are not trained on, with labels from their folders, or else from a file."""
    if not labels:
        return [_files(root, part, names) for part in parts]
    path = Path(root, Path(labels).expanduser()).resolve()
    by_name = read_labels(path, names)
    files_of_parts: list[list[tuple[str, int]]] = []
    flat = False
    for part in parts:
        folder = root / part
        if folder.is_dir() and any(not entry.is_dir() or entry.name not in names for entry in _entries(folder, root)):
            flat = True
            files = [file for file in sorted(_below(folder, root, f"{part}/")) if root / file != path]
            files_of_parts.append(labelled(files, by_name, path))
        else:
            files_of_parts.append(_files(root, part, names))
    if not flat:
        raise DataError(f"{root}: labels={labels}: the images have folders of classes already; leave labels out")
    return files_of_parts


def class_folders(part: Path) -> list[Path]:
    """Return the folders of the classes in `part`, sorted.

    Raises:
        DataError: There are none, something else is among them, or two have names that look the same.
    """
    if part.is_symlink() or not part.is_dir():
        folders = [path.name for path in sorted(part.parent.iterdir()) if path.is_dir()] if part.parent.is_dir() else []
        hint = f"; {part.parent} has {', '.join(map(repr, folders[:5]))}" if folders else ""
        got = "a link" if part.is_symlink() else f"none{hint}"
        raise DataError(f"{part}: expected a folder with a folder for each class, got {got}")
    classes = [Path(entry.path) for entry in _entries(part, part.parent)]
    for folder in classes:
        if not folder.is_dir():
            raise DataError(f"{folder}: expected a folder for each class in {part}, got a file{_remedy(part)}")
    if not classes:
        raise DataError(f"{part}: expected a folder for each class, got none")
    by_appearance = {_appearance(folder.name): folder.name for folder in classes}
    for folder in classes:
        other = by_appearance[_appearance(folder.name)]
        if other != folder.name:
            raise DataError(
                f"{folder}: expected class names that differ in more than case, spaces or Unicode form, got "
                f"{other!r}, too\nmost likely they are one class: rename or merge the folders"
            )
    return classes


def _remedy(part: Path) -> str:
    """Return what to do where the images of a part are in no folders of classes; empty for those to train on."""
    if part.name == "train":
        return ""
    others = [name for name in VALIDATION if name != part.name and (part.parent / name).is_dir()]
    # Not where the images for validation lie so themselves.
    instead = f"; test={others[0]} takes those in {others[0]} to report on" if others and part.name == "test" else ""
    return f"\nlabels=FILE says which class each image has{instead}"


def _appearance(name: str) -> str:
    """Return the same text for names that look the same: macOS stores é as two characters, other systems as one."""
    return " ".join(unicodedata.normalize("NFC", name.casefold()).split())


def _files(root: Path, part: str, names: list[str]) -> list[tuple[str, int]]:
    """Return the paths of one part, relative to `root`, with labels, in the order of class and path."""
    labelled: list[tuple[str, int]] = []
    for folder in class_folders(root / part):
        if folder.name not in names:
            alike = (name for name in names if _appearance(name) == _appearance(folder.name))
            hint = next((f", which is {name!r} there" for name in alike), "")
            raise DataError(f"{folder}: expected one of the classes in {root / 'train'}, got {folder.name!r}{hint}")
        # By the text of the path, not in the order of the listing, so that examples have one number on every system.
        files = sorted(_below(folder, root, f"{part}/{folder.name}/"))
        if not files:
            raise DataError(f"{folder}: expected at least one image, got none")
        label = names.index(folder.name)
        labelled += [(file, label) for file in files]
    return labelled


def _below(folder: Path, root: Path, before: str) -> Iterator[str]:
    """Yield the files in `folder` and below it, as texts that begin with `before`."""
    for entry in _entries(folder, root):
        if entry.is_dir():
            yield from _below(Path(entry.path), root, f"{before}{entry.name}/")
        else:
            yield before + entry.name


def _entries(folder: Path, root: Path) -> list[os.DirEntry[str]]:
    """Return what is in a folder, sorted, without hidden and system files; links must lead to files in `root`.

    Entries know whether they are files, folders or links. To ask the system for each of a million paths would take most
    of the time.
    """
    try:
        with os.scandir(folder) as listing:
            entries = [entry for entry in listing if entry.name[0] != "." and entry.name.lower() not in LEFT_BEHIND]
    except OSError as error:
        raise DataError(f"{folder}: expected a folder that can be read, got an error ({error.strerror})") from error
    entries.sort(key=lambda entry: entry.name)
    for entry in entries:
        if not entry.name.isprintable():
            raise DataError(
                f"{folder}: expected names of printable text in UTF-8, got {os.fsencode(entry.name)!r}; rename it"
            )
        if entry.is_symlink():
            target = Path(os.path.realpath(entry.path))
            # A link to a folder could lead back up, in a circle.
            if not target.is_relative_to(root) or not target.is_file():
                raise DataError(f"{entry.path}: expected links to files inside {root}, got one to {target}")
    return entries


def _read(paths: list[Path]) -> np.ndarray:
    """Read all images, `(n, h, w, c)` uint8."""
    pixels: list[np.ndarray] = []
    broken = BrokenFiles()
    for path in paths:
        with broken:
            pixels.append(read_image(path))
    refuse_broken(broken.faults, len(paths))
    first_h, first_w = pixels[0].shape[:2]
    for path, array in zip(paths, pixels, strict=True):
        h, w = array.shape[:2]
        if (h, w) != (first_h, first_w):
            raise DataError(
                f"{path}: expected images of one size, got {w} x {h}\n"
                f"and {first_w} x {first_h} (width x height) in {paths[0]}\nor folder:PATH?size=N, which scales them"
            )
    # One image in colour makes all of them colour: a network has one number of channels.
    channels = max(array.shape[2] for array in pixels)
    images = np.empty((len(pixels), *pixels[0].shape[:2], channels), dtype=np.uint8)
    for image, array in zip(images, pixels, strict=True):
        image[:] = array  # broadcasts a grey image to three channels
    return images
