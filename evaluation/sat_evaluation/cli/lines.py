"""What fits on the terminal: lines that are broken between words, and columns of tables."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

GAP = 2
"""Between two columns of a table."""
_KEPT = "\N{NO-BREAK SPACE}"
_INSIDE = re.compile(
    r"(?<=\d) (?=(?:%|[kMGTPE]?(?:FLOP|B)|[kMGTPE]|s|min|h|days)(?:\W|$))|(?<=\d) (?=x \d)|(?<=\d x) (?=\d)"
)
"""Spaces before the unit of a number, and in the shape of an image."""


def print_lines(console: Console, line: str, style: str = "") -> None:
    """Print a line, or as many as it needs, the further ones indented."""
    for part in wrapped(line, console.width):
        console.print(Text(part, style=style), soft_wrap=True)


def wrapped(line: str, width: int) -> list[str]:
    """Break a line between words, but not between a number and its unit.

    Further lines are indented by two spaces more than the first. What is longer than a line stays whole.

    >>> wrapped("  recovers 90 % of it", 14)
    ['  recovers', '    90 % of it']
    """
    if len(line) <= width:
        return [line]
    indent = line[: len(line) - len(line.lstrip(" "))]
    parts = textwrap.wrap(
        _INSIDE.sub(_KEPT, line),
        width,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [part.replace(_KEPT, " ") for part in parts]


def without(columns: Mapping[str, Sequence[str]], width: int, spare: Iterable[str]) -> list[str]:
    """Return which columns of a table have to go for the others to fit.

    Args:
        columns: Cells by head; those of a column that can be broken as narrow as that may be.
        width: Of the terminal.
        spare: Heads of columns that may go, the first one first.
    """
    widths = {head: max(map(cell_len, (head, *cells))) + GAP for head, cells in columns.items()}
    gone: list[str] = []
    for head in spare:
        if sum(widths.values()) - GAP <= width:
            break
        if widths.pop(head, 0):
            gone.append(head)
    return gone
