"""Data sets by name: `NAME`, `NAME:PATH`, `NAME:PATH?OPTION=VALUE`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from sat_core.data import DataSet
from sat_core.errors import DataError, SpecError, quoted
from sat_core.registry import Registry, nearest

DATASETS: Registry[Callable[..., Any]] = Registry("data set", "sat_core.datasets", extra="data")
"""Loaders by name; each returns a `DataSet`. It takes the part after ``name:`` (a path, or an empty string), and what
comes after ``?`` as keywords, whose values are text.
"""


def get_dataset(name: str) -> DataSet:
    """The data set called `name`: ``NAME``, ``NAME:PATH`` or ``NAME:PATH?OPTION=VALUE&OPTION=VALUE``.

    NAME: ``digits``, ``npz``, ``folder``, ``cifar10``, ..., or what an installed package adds. Raises SpecError for a
    name or an option that does not exist, DataError for data that cannot be used.
    """
    loaded = get_loader(name)()
    if not isinstance(loaded, DataSet):
        raise DataError(f"data set {name!r}: expected a DataSet from its loader, got {type(loaded).__name__}")
    return loaded


def split_name(name: str) -> tuple[str, str, dict[str, str]]:
    """NAME, PATH and options of a data set's full name.

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
    """What loads the data set called `name`; SpecError for a name or an option that does not exist."""
    head, path, options = split_name(name)
    loader = DATASETS.get(head)
    known = [p.name for p in inspect.signature(loader).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            expected = f"one of {', '.join(known)}" if known else "none"
            raise SpecError(
                f"data set {head!r}: unknown option {quoted(option)}{nearest(option, known)}\nexpected {expected}"
            )
    return lambda: loader(path, **options)
