"""What chapters of a report are made of, besides charts, tables and images."""

from __future__ import annotations

from typing import Any, final

import attrs

from sat_evaluation.report.charts import Bars, Matrix, Plot
from sat_evaluation.report.forest import Forest

Chart = Plot | Matrix | Bars | Forest
"""What stands in a figure of the page."""


@final
@attrs.frozen(kw_only=True)
class Note:
    """A paragraph. small: in small print, as what a chart leaves out."""

    text: str
    small: bool = False


@final
@attrs.frozen(kw_only=True)
class Charts:
    """Charts side by side where there is room. title: a heading, or empty."""

    charts: tuple[Chart, ...]
    title: str = ""


@final
@attrs.frozen(kw_only=True)
class Listing:
    """Text to copy, such as BibTeX.

    Attributes:
        title: Heading.
        text: The text.
        prose: Whether it is a paragraph, not lines of code.
        folded: Whether it is seen only after a click on its title.
    """

    title: str
    text: str
    prose: bool = False
    folded: bool = False


@final
@attrs.frozen(kw_only=True)
class Settings:
    """Names with their values."""

    pairs: tuple[tuple[str, str], ...]


@final
@attrs.frozen(kw_only=True)
class Chapter:
    """One part of what a report says of a run.

    Attributes:
        key: Behind the anchor of the run it is the anchor of the chapter.
        title: Heading.
        blocks: Charts, tables, images and texts, in order.
    """

    key: str
    title: str
    blocks: tuple[Any, ...]


def chapter(key: str, title: str, *blocks: Any) -> list[Chapter]:
    """Return a chapter with those blocks that are not None, in a list; an empty list if there are none."""
    filled = tuple(block for block in blocks if block is not None)
    return [Chapter(key=key, title=title, blocks=filled)] if filled else []


def charts(*some: Chart | None, title: str = "") -> Charts | None:
    """Return the charts that are not None; None if there are none."""
    filled = tuple(one for one in some if one is not None)
    return Charts(charts=filled, title=title) if filled else None
