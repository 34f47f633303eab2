"""How results look in notebooks: HTML tables and pandas data frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from sat_core.errors import NotInstalledError


def html_table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Format an HTML table; every text is escaped, since class and file names may be markup."""
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f"<table><caption>{escape(caption)}</caption>"
        f"{f'<thead><tr>{head}</tr></thead>' if heads else ''}<tbody>{body}</tbody></table>"
    )


def data_frame(columns: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]]) -> Any:
    """Make a `pandas.DataFrame`.

    Raises:
        NotInstalledError: pandas is not installed; it is not a dependency of sat-core.
    """
    return import_pandas().DataFrame(columns)


def import_pandas() -> Any:
    """Return the module pandas.

    Raises:
        NotInstalledError: It is not installed; it is not a dependency of sat-core.
    """
    try:
        import pandas
    except ImportError as error:
        raise NotInstalledError("to_pandas() needs pandas: pip install pandas") from error
    return pandas
