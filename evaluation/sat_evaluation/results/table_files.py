"""Tidy tables as CSV, Parquet and pandas data frames; files are written in parts, and are whole or not there."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sat_core.display import import_pandas
from sat_core.errors import NotInstalledError, SpecError
from sat_core.files import writing
from sat_evaluation.results.csv_file import csv_lines
from sat_evaluation.results.tidy import Column, Tidy

Writer = Callable[[Tidy, BinaryIO], None]
_FRAME = {str: "string", int: "Int64", float: "Float64", bool: "boolean"}
"""Types of pandas in which a value may be missing."""


def write_table(path: Path, table: Tidy) -> None:
    """Write a table as what the name of the file says; see `writer_for`, whose errors it raises."""
    write = writer_for(path)
    with writing(path) as file:
        write(table, file)


def writer_for(path: Path) -> Writer:
    """Return what writes a file of this name.

    Raises:
        SpecError: It ends neither in ``.csv`` nor in ``.parquet``.
        NotInstalledError: It is Parquet, and pyarrow is missing; that is not a dependency of sat-core.
    """
    if path.suffix not in _WRITERS:
        raise SpecError(f"--out: expected a file that ends in {' or '.join(_WRITERS)}, got {path.name!r}")
    if path.suffix == ".parquet":
        _import_pyarrow()
    return _WRITERS[path.suffix]


def csv_parts(table: Tidy) -> Iterator[str]:
    """Yield the lines of a table as CSV, in parts; the first is the heads."""
    yield csv_lines(table.columns, [])
    for part in table.parts:
        yield csv_lines(None, zip(*(_listed(part[name]) for name in table.columns), strict=True))


def to_pandas(table: Tidy) -> Any:
    """Return the whole table as a `pandas.DataFrame`; missing values are ``pandas.NA``.

    Raises:
        NotInstalledError: pandas is missing; it is not a dependency of sat-core.
    """
    pandas = import_pandas()

    def frame(part: Mapping[str, Column]) -> Any:
        columns = table.columns.items()
        return pandas.DataFrame({name: pandas.array(_listed(part[name]), dtype=_FRAME[kind]) for name, kind in columns})

    # an empty one first, so that a table without rows has its columns
    return pandas.concat([frame(dict.fromkeys(table.columns, ())), *map(frame, table.parts)], ignore_index=True)


def _write_csv(table: Tidy, file: BinaryIO) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    text.writelines(csv_parts(table))
    # closes nothing: the file is renamed once it is on the disk
    text.detach()


def _write_parquet(table: Tidy, file: BinaryIO) -> None:
    arrow, parquet = _import_pyarrow()
    types = {str: arrow.string(), int: arrow.int64(), float: arrow.float64(), bool: arrow.bool_()}
    schema = arrow.schema([(name, types[kind]) for name, kind in table.columns.items()])
    with parquet.ParquetWriter(file, schema) as writer:
        for part in table.parts:
            columns = [arrow.array(_listed(part[name]), types[kind]) for name, kind in table.columns.items()]
            writer.write_table(arrow.table(columns, schema=schema))


_WRITERS: dict[str, Writer] = {".csv": _write_csv, ".parquet": _write_parquet}


def _import_pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise NotInstalledError("--out: Parquet needs pyarrow: pip install pyarrow, or take a .csv") from error
    return pyarrow, pyarrow.parquet


def _listed(column: Column) -> list[Any]:
    return column.tolist() if isinstance(column, np.ndarray) else list(column)
