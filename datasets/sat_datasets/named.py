"""What the loaders of named data sets share: packages, options, the finished data set, and what to say of no files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from sat_core.data import DataSet, Examples
from sat_core.errors import DataError, NotInstalledError, SpecError, install, quoted
from sat_datasets.catalogue import about, root
from sat_datasets.decode import need_pillow
from sat_datasets.stream import FileImages

Files = Sequence[tuple[str, int]]
"""Posix paths below the folder of a data set, with labels."""


@contextmanager
def needs(name: str, package: str) -> Iterator[None]:
    """NotInstalledError, for the data set called `name`, if an import inside fails."""
    try:
        yield
    except ImportError as error:
        raise NotInstalledError(f"data set {name!r} needs {package}: {install('data')}") from error


def nothing_after(name: str, argument: str) -> None:
    """DataError for an argument to a data set that has no files."""
    if argument:
        raise DataError(f"data set {name!r}: expected nothing after its name, got {quoted(argument)}")


def choice(name: str, option: str, value: str, allowed: Sequence[str]) -> str:
    """`value` if it is one of `allowed`; SpecError otherwise."""
    if value not in allowed:
        raise SpecError(f"data set {name!r}: {option}: expected {' or '.join(allowed)}, got {quoted(value)}")
    return value


def absent(name: str, folder: Path, missing: str) -> DataError:
    """What to say where `missing`, a path below the folder of a data set, is not there."""
    return DataError(
        f"data set {name!r}: expected {missing} in {folder}, got nothing of that name\n{remedy(name, folder, missing)}"
    )


def remedy(name: str, folder: Path, path: str) -> str:
    """What to do, in one line, about `path` below `folder` that is missing or broken."""
    elsewhere = "" if folder == root(name) else f" --root {folder}"
    part = folder / path.split("/")[0]
    away = f"move {part} away, then " if os.path.lexists(part) else ""
    return f"{away}`sat data download {name}{elsewhere}` gets it; {name}:FOLDER reads it from elsewhere"


def dataset(
    name: str, parts: Sequence[Examples], class_names: Sequence[str], options: Mapping[str, str] | None = None
) -> DataSet:
    """The data set with what the catalogue says of it.

    parts: training, test and, where there are some, validation examples. options: those whose value is not the default;
    they go into its name.
    """
    known = about(name)
    return DataSet(
        name=name + ("?" if options else "") + "&".join(f"{key}={value}" for key, value in (options or {}).items()),
        train=parts[0],
        test=parts[1],
        validation=parts[2] if len(parts) > 2 else None,
        class_names=tuple(class_names),
        mean=known.mean,
        std=known.std,
        licence=known.licence,
        citation=known.citation,
    )


def changed(options: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """Option to value, of those whose value is not the default; `options` holds (value, default)."""
    return {option: value for option, (value, default) in options.items() if value != default}


def streamed(name: str, folder: Path, part: str, files: Files, classes: int, size: int) -> Examples:
    """The images `files` below `folder`, decoded when they are asked for."""
    need_pillow(name)
    images = FileImages(folder, [file for file, _ in files], size)
    labels = np.array([label for _, label in files], dtype=np.int64)
    return Examples(images, labels, classes, f"{name}: {part}")
