"""Data sets by name: `NAME`, `NAME:PATH` or `NAME:PATH?OPTION=VALUE`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, cast

from sat_core.data import DataSet
from sat_core.errors import DataError, SpecError, quoted
from sat_core.images import ImageSource
from sat_core.process_group import ProcessGroup
from sat_core.registry import Registry, nearest

DATASETS: Registry[Callable[..., Any]] = Registry("data set", "sat_core.datasets", extra="data")
"""Loaders by name. Each takes the part after ``name:`` (a path, or an empty string) and the options after ``?`` as
keywords with text values, and returns a `DataSet`.
"""


def get_dataset(name: str) -> DataSet:
    """Load a data set by name.

    Args:
        name: ``NAME``, ``NAME:PATH`` or ``NAME:PATH?OPTION=VALUE&OPTION=VALUE``, where NAME is ``digits``, ``npz``,
            ``folder``, ``cifar10``, ..., or one that an installed package adds.

    Raises:
        SpecError: The name or an option does not exist.
        DataError: The data cannot be used.
    """
    loaded = get_loader(name)()
    if not isinstance(loaded, DataSet):
        raise DataError(f"data set {name!r}: expected a DataSet from its loader, got {type(loaded).__name__}")
    return loaded


def load_once(load: Callable[[], DataSet], group: ProcessGroup) -> DataSet:
    """Return the data set that `load` gives on each rank, or on rank 0 alone if its images are decoded on request.

    To list a million files takes minutes on a disk that machines share, so the other ranks take over the list of rank
    0, and with it the fingerprint. Images in memory are not sent: each rank reads its own.

    Args:
        load: Loads the same data set on all ranks.
        group: All ranks.

    Raises:
        SatError: What `load` raises. Rank 0 then ends, and the others with it.
    """
    if group.size == 1:
        return load()
    data = load() if group.rank == 0 else None
    listed = data is not None and any(isinstance(cast(Any, part.images), ImageSource) for part in data.parts)
    if data is not None and listed:
        data.fingerprint()  # The images keep it, and take it along.
    return group.broadcast(data if listed else None) or data or load()


def split_name(name: str) -> tuple[str, str, dict[str, str]]:
    """Split a data set's full name into NAME, PATH and options.

    >>> split_name("folder:~/images?size=224")
    ('folder', '~/images', {'size': '224'})
    """
    place, _, query = name.partition("?")
    head, _, path = place.partition(":")
    options: dict[str, str] = {}
    for pair in query.split("&") if query else ():
        key, _, value = pair.partition("=")
        if not value or key in options:
            raise SpecError(f"data set {quoted(name)}: expected OPTION=VALUE after '?', each once, got {quoted(pair)}")
        options[key] = value
    return head, path, options


def get_loader(name: str) -> Callable[[], Any]:
    """Return the loader of the data set called `name`; SpecError if the name or an option does not exist."""
    head, path, options = split_name(name)
    loader = DATASETS.get(head)
    # Before loading: a mistyped option is said at once, not after minutes, and also where the files are missing.
    allowed = [p.name for p in inspect.signature(loader).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in allowed:
            expected = f"one of {', '.join(allowed)}" if allowed else "none"
            raise SpecError(
                f"data set {head!r}: unknown option {quoted(option)}{nearest(option, allowed)}\nexpected {expected}"
            )
    return lambda: loader(path, **options)
