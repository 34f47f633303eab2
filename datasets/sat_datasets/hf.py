"""A data set of Hugging Face's package `datasets`: a folder that `save_to_disk` wrote, or a name of the hub."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from sat_core.array_data import data_set_from_arrays
from sat_core.data import DataSet
from sat_core.errors import DataError, NotInstalledError, brief, quoted
from sat_core.indexed_data import IndexedImages, Items, as_labels
from sat_core.own_data import VALIDATION, make_dataset
from sat_core.registry import nearest
from sat_core.table_data import Columns, table_columns
from sat_datasets.catalogue import IMAGENET_MEAN, IMAGENET_STD
from sat_datasets.named import full_name
from sat_datasets.stream import checked_size
from sat_datasets.workers import count

_SPLIT = re.compile(r"(?P<name>[^\[\]]+)(?:\[(?P<first>\d*%?):(?P<end>\d*%?)\])?")


def load(
    argument: str,
    *,
    train: str = "train",
    test: str = "",
    validation: str = "",
    image: str = "",
    label: str = "",
    size: str = "",
    config: str = "",
) -> DataSet:
    """Load a data set with the package `datasets`; examples are in the order that it has.

    Args:
        argument: Path of a folder that ``save_to_disk`` wrote, or the name of a data set of the hub, which is
            downloaded unless it is in the cache.
        train: Split to train on, or a part of it as ``train[:90%]`` or ``train[100:]``.
        test: Split to report on. Default: ``test``; where there is none, the one for validation.
        validation: Split that picks the epoch. Default: ``validation``, ``val`` or ``valid``, if there is one.
        image: Column of the images, by default found by its type.
        label: Column of the labels, by default found by its type.
        size: Pixels of a side. Images of any size are then decoded when they are needed and scaled to squares of three
            channels, with ImageNet's mean and standard deviation. Without it, all are read at once and have one size.
        config: Configuration of a data set of the hub that has several.

    Raises:
        DataError: There is no such data set, split or column, or images or labels cannot be used.
        NotInstalledError: The package is not installed.
    """
    if not argument:
        raise DataError("data set 'hf': expected hf:PATH or hf:NAME, got neither")
    options = {"test": test, "validation": validation, "image": image, "label": label, "size": size, "config": config}
    name = full_name("hf", argument, train=train if train != "train" else "", **options)
    splits = _splits(argument, config)
    chosen, notes = _chosen(name, splits, train, test, validation)
    parts = {part: _part(name, splits, split) for part, split in chosen.items()}
    if not size:
        made = make_dataset(**parts, name=name, image=image or None, label=label or None)
        return attrs.evolve(made, notes=notes)
    pixels = checked_size(size, "hf")
    arrays: dict[str, Any] = {"mean": np.array(IMAGENET_MEAN), "std": np.array(IMAGENET_STD)}
    names: tuple[str, ...] = ()
    for part, data in parts.items():
        columns = table_columns(data, f"{name}: {part}", image or None, label or None)
        key = "val" if part == "validation" else part
        arrays |= {f"x_{key}": _stream(data, f"{name}: {part}", columns, pixels)}
        arrays |= {f"y_{key}": as_labels(list(data[columns.label]), f"{name}: {part}")}
        names = names or columns.class_names(data)
    if len(names) == len(np.unique(arrays["y_train"])):
        arrays["class_names"] = np.array(names)
    return data_set_from_arrays(arrays, name=name, prefix=f"{name}: ", notes=notes)


def _splits(argument: str, config: str) -> Mapping[str, Any]:
    """Return the splits of the data set by name."""
    package = _package()
    path = Path(argument).expanduser()
    try:
        if path.is_dir():
            splits = package.load_from_disk(str(path))
        elif argument[0] in "/~.":
            raise DataError(f"hf:{argument}: expected a folder that save_to_disk wrote, found none")
        else:
            splits = package.load_dataset(argument, config or None)
    except DataError:
        raise
    except Exception as error:  # of the package, of its file formats, and of the network
        if path.is_dir():
            raise DataError(f"hf:{argument}: expected a folder that save_to_disk wrote ({brief(error)})") from error
        raise DataError(
            f"hf:{argument}: no such folder, and the hub does not give it ({brief(error)})\n"
            "without a network, copy the folder that save_to_disk wrote on another machine, and give its path"
        ) from error
    if not isinstance(splits, Mapping):
        raise DataError(
            f"hf:{argument}: expected splits, at least train and test, got one table\n"
            "save data.train_test_split(test_size=0.1, seed=0) instead"
        )
    return splits


def _package() -> Any:
    try:
        package = import_module("datasets")
    except ImportError:
        package = None
    # Where it is not installed, a folder of that name in the working directory is an empty package.
    if not hasattr(package, "load_from_disk"):
        raise NotInstalledError("data set 'hf' needs Hugging Face's package datasets: pip install datasets")
    return package


def _chosen(
    name: str, splits: Mapping[str, Any], train: str, test: str, validation: str
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the split of each part, and notes."""
    held = next((split for split in VALIDATION if split in splits), "")
    notes: tuple[str, ...] = ()
    if not test and "test" not in splits and held and not validation:
        test, held = held, ""
        notes = (f"{name} has no split test: the images in {test} are the test images",)
    chosen = {"train": train, "test": test or "test"}
    # A split is not used for two parts, unless the user says so.
    if validation or (held and held not in chosen.values()):
        chosen["validation"] = validation or held
    return chosen, notes


def _part(name: str, splits: Mapping[str, Any], split: str) -> Any:
    """Return a split, or a part of one."""
    found = _SPLIT.fullmatch(split)
    if found is None or found["name"] not in splits:
        text = found["name"] if found else split
        raise DataError(
            f"{name}: no split {quoted(text)}{nearest(text, splits)}; it has {', '.join(splits)}\n"
            "say which with train=SPLIT and test=SPLIT; a part of one is SPLIT[:90%] or SPLIT[90%:]"
        )
    data = splits[found["name"]]
    if found["first"] is None:
        return data
    first, end = (_position(found[key], len(data), default) for key, default in (("first", 0), ("end", len(data))))
    return data.select(range(first, max(first, end)))


def _position(text: str, total: int, default: int) -> int:
    if not text or text == "%":
        return default
    return min(total, round(total * int(text[:-1]) / 100) if text[-1] == "%" else int(text))


def _stream(data: Any, name: str, columns: Columns, size: int) -> IndexedImages:
    """Return the images of a table, decoded when they are needed. Their files are hashed, not decoded."""
    digests = np.empty((len(data), 32), np.uint8)
    feature = data.features[columns.image]
    raw = data if columns.dtype else data.cast_column(columns.image, type(feature)(decode=False))
    for number, row in enumerate(raw.with_format(None).select_columns([columns.image])):
        value = row[columns.image]
        if not columns.dtype:
            content = value["bytes"] if value["bytes"] is not None else Path(value["path"]).read_bytes()
        else:
            content = np.asarray(value, columns.dtype).tobytes()
        digests[number] = np.frombuffer(hashlib.sha256(content).digest(), np.uint8)
    items = Items(data, name, columns)
    threads = max(1, count())
    return IndexedImages(items, np.arange(len(data)), (size, size, 3), digests, scales=True, threads=threads)
