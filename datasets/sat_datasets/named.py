"""What the loaders of named data sets share: optional packages, options, the finished data set, and missing files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from sat_core.data import DataSet, Examples
from sat_core.errors import DataError, NotInstalledError, SpecError, install, quoted
from sat_datasets.catalogue import catalogue_entry, root
from sat_datasets.decode import need_pillow
from sat_datasets.stream import FileImages

Files = Sequence[tuple[str, int]]
"""Posix paths relative to the folder of a data set, with labels."""


@contextmanager
def needs(name: str, package: str) -> Iterator[None]:
    """Turn a failed import inside the block into an error that says what to install.

    Args:
        name: The data set that needs the package.
        package: The package, as the message calls it.

    Raises:
        NotInstalledError: An import inside failed.
    """
    try:
        yield
    except ImportError as error:
        raise NotInstalledError(f"data set {name!r} needs {package}: {install('data')}") from error


def nothing_after(name: str, argument: str) -> None:
    """Refuse an argument for a data set that has no files of its own.

    Raises:
        DataError: `argument` is not empty.
    """
    if argument:
        raise DataError(f"data set {name!r}: expected nothing after its name, got {quoted(argument)}")


def choice(name: str, option: str, value: str, allowed: Sequence[str]) -> str:
    """Return the value of an option.

    Raises:
        SpecError: `value` is not one of `allowed`.
    """
    if value not in allowed:
        raise SpecError(f"data set {name!r}: {option}: expected {' or '.join(allowed)}, got {quoted(value)}")
    return value


def absent(name: str, folder: Path, missing: str) -> DataError:
    """Return the error for a missing file or folder; `missing` is its path relative to `folder`."""
    return DataError(
        f"data set {name!r}: expected {missing} in {folder}, got nothing of that name\n{remedy(name, folder, missing)}"
    )


def remedy(name: str, folder: Path, path: str) -> str:
    """Return one line that says how to replace `path`, relative to `folder`, which is missing or broken."""
    elsewhere = "" if folder == root(name) else f" --root {folder}"
    part = folder / path.split("/")[0]
    # A download never replaces what is there.
    away = f"move {part} away, then " if os.path.lexists(part) else ""
    return f"{away}`sat data download {name}{elsewhere}` gets it; {name}:FOLDER reads it from elsewhere"


def dataset(
    name: str, parts: Sequence[Examples], class_names: Sequence[str], options: Mapping[str, str] | None = None
) -> DataSet:
    """Make a data set with the facts that the catalogue has about it.

    Args:
        name: The data set.
        parts: Training, test and, where there are some, validation examples.
        class_names: The name of every class, in the order of the labels.
        options: Options whose value is not the default. They become part of its name.
    """
    entry = catalogue_entry(name)
    return DataSet(
        name=name + ("?" if options else "") + "&".join(f"{key}={value}" for key, value in (options or {}).items()),
        train=parts[0],
        test=parts[1],
        validation=parts[2] if len(parts) > 2 else None,
        class_names=tuple(class_names),
        mean=entry.mean,
        std=entry.std,
        licence=entry.licence,
        citation=entry.citation,
    )


def full_name(name: str, argument: str, **options: str) -> str:
    """Return NAME:PATH with the options that are set."""
    query = "&".join(f"{key}={value}" for key, value in options.items() if value)
    return f"{name}:{argument}" + (f"?{query}" if query else "")


def changed(options: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """Return the options whose value is not the default; `options` holds (value, default) by name."""
    return {option: value for option, (value, default) in options.items() if value != default}


def streamed(name: str, folder: Path, part: str, files: Files, classes: int, size: int) -> Examples:
    """Make examples of image files that are decoded when they are needed.

    Args:
        name: The data set.
        folder: Its folder.
        part: Such as "train", for messages.
        files: Paths relative to `folder`, with labels.
        classes: Number of classes.
        size: Pixels of a side of the squares that the images are scaled to.

    Raises:
        NotInstalledError: Pillow is not installed.
    """
    need_pillow(name)
    images = FileImages(folder, [file for file, _ in files], size)
    labels = np.array([label for _, label in files], dtype=np.int64)
    return Examples(images, labels, classes, f"{name}: {part}")
