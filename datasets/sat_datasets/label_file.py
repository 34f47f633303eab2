"""Labels of images that lie in one folder: a text file with a line for each, its name and its class."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from sat_core.errors import DataError, quoted
from sat_core.files import check_regular, reason


def read_labels(path: Path, classes: Sequence[str]) -> dict[str, int]:
    """Read a file of lines ``FILE CLASS``, separated by spaces, tabs or commas; more columns are not looked at.

    Kaggle's ``LOC_val_solution.csv``, Caffe's ``val.txt`` and Tiny ImageNet's ``val_annotations.txt`` are such files.

    Args:
        path: The file. Its first line may be a heading.
        classes: Their names in the order of the labels. A line has one of them, or its number from 0.

    Returns:
        Labels by the names of files without folder and suffix.

    Raises:
        DataError: It cannot be read, or a line has no class.
    """
    check_regular(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected lines FILE CLASS, got no text ({reason(error)})") from error
    numbers = {name: label for label, name in enumerate(classes)}
    labels: dict[str, int] = {}
    counted: set[int] = set()
    for place, line in enumerate(lines, 1):
        file, name, *_ = [*re.split(r"[,\s]+", line.strip()), "", ""]
        label = numbers.get(name, -1)
        if label < 0 and name.isdecimal() and len(name) < 8:
            label = int(name)
            counted.add(label)
        if not file or (place == 1 and label < 0 and name):
            continue
        if not 0 <= label < len(classes):
            hint = "\nthe development kit's numbers have another order: take LOC_val_solution.csv" if not name else ""
            raise DataError(
                f"{path}: line {place}: expected FILE CLASS with a class of the training images or its number from 0 "
                f"to {len(classes) - 1}, got {quoted(line)}{hint}"
            )
        labels[stem(file)] = label
    # Numbers count all classes of a release: beside some of them, or from 1, they would be those of others.
    if counted and (0 not in counted or max(counted) != len(classes) - 1):
        raise DataError(
            f"{path}: expected numbers of the {len(classes)} classes of the training images from 0, got "
            f"{min(counted)}..{max(counted)}; give names of classes instead"
        )
    return labels


def labelled(files: Sequence[str], labels: Mapping[str, int], path: Path) -> list[tuple[str, int]]:
    """Return files with their labels; DataError if one has none.

    Args:
        files: Posix paths.
        labels: By names without folder and suffix.
        path: Where the labels are from, for the message.
    """
    if missing := [file for file in files if stem(file) not in labels]:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(f"{path}: expected a line for each image, got none for {missing[0]}{more}")
    return [(file, labels[stem(file)]) for file in files]


def stem(file: str) -> str:
    """Return the name of a file without folder and suffix."""
    return PurePosixPath(file).stem
