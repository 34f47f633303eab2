"""A table of a report, which readers can sort, and save as CSV or JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import isfinite
from typing import Any, final
from urllib.parse import quote

import attrs

from sat_evaluation.results.csv_file import csv_lines

_PLAIN = "[]{}:,/'()*!?=+;@-._~"
"""Characters that stay as they are in a link; each other one takes three."""

Cell = tuple[str, str | float]
"""What is shown, and the value that the column is sorted by."""


@final
@attrs.frozen(kw_only=True)
class Table:
    """A table that readers can sort and save.

    Attributes:
        heads: Names of the columns that are shown.
        rows: Cells of each row; the first one names it.
        columns: Names of the columns in the files, which may have more.
        lines: Values of each line of the files.
        file: Name of the CSV file; the JSON file has the same before the dot.
        caption: What it shows, in one sentence.
        title: Heading above it, or empty.
    """

    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    columns: tuple[str, ...]
    lines: tuple[tuple[Any, ...], ...]
    file: str
    caption: str
    title: str = ""

    @property
    def csv(self) -> str:
        """The content of the CSV file."""
        return csv_lines(self.columns, self.lines)

    @property
    def json(self) -> str:
        """The content of the JSON file: ``columns``, and ``data``, a list for each line, as pandas splits tables."""
        content = {"columns": self.columns, "data": [[_finite(value) for value in line] for line in self.lines]}
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)

    @property
    def links(self) -> tuple[tuple[str, str, str], ...]:
        """Kind, file name and ``data:`` address of both files."""
        name = self.file.removesuffix(".csv")
        return (
            ("CSV", self.file, f"data:text/csv;charset=utf-8,{quote(self.csv, safe=_PLAIN)}"),
            ("JSON", f"{name}.json", f"data:application/json;charset=utf-8,{quote(self.json, safe=_PLAIN)}"),
        )


def _finite(value: Any) -> Any:
    # JSON has no other numbers
    return None if isinstance(value, float) and not isfinite(value) else value


def plain_table(
    heads: Sequence[str], lines: Sequence[Sequence[Any]], *, file: str, caption: str, title: str = ""
) -> Table:
    """Return a table whose files have what is shown: numbers with four digits, missing values as a dash."""
    return Table(
        heads=tuple(heads),
        rows=tuple(tuple(shown_cell(value) for value in line) for line in lines),
        columns=tuple(heads),
        lines=tuple(map(tuple, lines)),
        file=file,
        caption=caption,
        title=title,
    )


def shown_cell(value: Any) -> Cell:
    """Return a value as a cell."""
    if isinstance(value, int | float):
        return f"{value:.4g}", float(value)
    # below every accuracy and cost
    return ("–", -1.0) if value is None else (str(value), str(value))
