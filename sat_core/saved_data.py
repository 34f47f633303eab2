"""Data sets that studies are given as objects: saved in the folder of the run, where its processes find them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import attrs
import numpy as np

from sat_core import files
from sat_core.data import DataSet, Examples
from sat_core.datasets import get_dataset
from sat_core.errors import DataError, RunDirectoryError, brief, quoted
from sat_core.images import ImageSource
from sat_core.run_folder import RunFolder

PREFIX = "saved:"
"""What the name of such a data set begins with, in the study and in results."""
_PARTS = ("train", "test", "validation")
_FACTS = ("class_names", "mean", "std", "licence", "citation", "notes")


def as_saved(data: DataSet, name: str) -> DataSet:
    """Return a data set under the name that it has once it is saved.

    Args:
        data: What the study was given.
        name: Of the study's data set: kept if it is that of a saved one.

    Raises:
        DataError: Images of `data` are decoded when they are needed: they have too many bytes, or are files already.
    """
    if any(isinstance(cast(Any, part.images), ImageSource) for part in data.parts):
        raise DataError(
            f"data: expected images in memory to save in the folder of the run, got a stream, {quoted(data.name)}\n"
            "name the data instead, as data.name = 'folder:PATH?size=N' or by a plug-in (docs/plug-ins.md)"
        )
    return attrs.evolve(data, name=name if name.startswith(PREFIX) else PREFIX + data.name.removeprefix(PREFIX))


def save_data(folder: RunFolder, data: DataSet) -> None:
    """Save a data set in the folder of a run, or check that it is there; a damaged one is written anew.

    Args:
        folder: Of the run, claimed with the fingerprint of `data`.
        data: What `as_saved` returns.

    Raises:
        RunDirectoryError: The one that is there has other class names, mean or deviation.
    """
    facts = _facts(data)
    try:
        there: DataSet | None = read_data(folder)
    except DataError:
        there = None
    if there is not None and there.fingerprint() == data.fingerprint():
        for key, value in _facts(there).items():
            if value != facts[key]:
                raise RunDirectoryError(
                    f"{folder}: {key} of {data.name} is {quoted(value)} there and {quoted(facts[key])} here\n"
                    "choose another folder, or give the data as they were"
                )
        return
    # The facts last: where they are, the arrays are whole.
    folder.data_facts.unlink(missing_ok=True)
    files.sweep(folder.data_facts.parent)
    for part, examples in zip(_PARTS, data.parts, strict=False):
        for axis, array in (("x", examples.images), ("y", examples.labels)):
            with files.writing(folder.data_array(f"{axis}_{part}")) as file:
                np.save(file, array, allow_pickle=False)
    files.write_json(folder.data_facts, facts)


def read_data(folder: RunFolder) -> DataSet:
    """Return the data set that is saved in the folder of a run; images are mapped into memory, not read.

    Raises:
        DataError: There is none, or it is damaged.
    """
    facts = files.read_json(folder.data_facts)
    try:
        parts = [_examples(folder, part, int(facts["classes"])) for part in _PARTS[: int(facts["parts"])]]
        return DataSet(
            name=facts["name"],
            train=parts[0],
            test=parts[1],
            validation=parts[2] if len(parts) > 2 else None,
            **cast(Any, {key: tuple(value) if isinstance(value := facts[key], list) else value for key in _FACTS}),
        )
    except (OSError, EOFError, ValueError, TypeError, KeyError, IndexError) as error:
        raise DataError(
            f"{folder.data_facts.parent}: expected the data of the run, got a part of them ({brief(error)})\n"
            "start the study again with Study.run(..., data=...), which writes them anew"
        ) from error


def dataset_of(name: str, folder: RunFolder) -> DataSet:
    """Return the data set called `name` of the run in `folder`: what it was given as an object, or by its name."""
    if name.startswith(PREFIX) and folder.data_facts.exists():
        return read_data(folder)
    return get_dataset(name)


def load(argument: str) -> DataSet:
    """Load the data set ``saved:RUN`` that a study in the folder RUN was given as an object.

    Raises:
        DataError: There is none, or it is damaged.
    """
    folder = RunFolder(Path(argument).expanduser())
    if not argument or not folder.data_facts.exists():
        raise DataError(
            f"{PREFIX}{argument}: expected the folder of a run with data that it was given as an object, found none\n"
            "give them again: Study.run(..., data=...)"
        )
    return attrs.evolve(read_data(folder), name=PREFIX + argument)


def _facts(data: DataSet) -> dict[str, Any]:
    facts = {key: list(value) if isinstance(value := getattr(data, key), tuple) else value for key in _FACTS}
    return {"name": data.name, "classes": data.classes, "parts": len(data.parts), **facts}


def _examples(folder: RunFolder, part: str, classes: int) -> Examples:
    images, labels = (_mapped(folder.data_array(f"{axis}_{part}")) for axis in "xy")
    return Examples(images, labels, classes, f"{folder.data_facts.parent}: {part}")


def _mapped(path: Path) -> np.ndarray:
    files.check_regular(path)
    # "c": changes stay in memory. Read-only arrays would make PyTorch warn.
    return np.load(path, mmap_mode="c", allow_pickle=False)
