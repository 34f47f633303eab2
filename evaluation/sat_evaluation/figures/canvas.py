"""What all figures share: colours, headings, and files that are the same bytes for the same results."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sat_core.errors import NotInstalledError, install
from sat_core.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, distinguishable with any colour vision; without its yellow, which vanishes on white."""
GREY = "#666666"
GRID = "#eaeaea"
BAR = {"elinewidth": 1, "capsize": 2}
"""Options of error bars, which are 95 % intervals over test images."""
_SEEDS = {"linewidth": 4.5, "alpha": 0.35}
"""Options of the bars of several seeds, which are standard deviations: broad and pale, without caps."""


@contextmanager
def drawing(width: float, height: float) -> Iterator[Any]:
    """Give an empty figure of this size in inches; what is added inside is in our style.

    Raises:
        NotInstalledError: matplotlib is missing.
    """
    try:
        from sat_evaluation.figures.styled import StyledFigure, style
    except ImportError as error:
        raise NotInstalledError(f"figures need matplotlib: {install('report')}") from error
    with style():
        yield StyledFigure(figsize=(width, height), layout="constrained")


def heading(figure: Any, text: str, *details: str) -> None:
    """Write a title in bold and `details` in small print below it, wrapped at their dots (``·``)."""
    width, height = figure.get_size_inches()
    # no-break spaces hold together what is between two dots
    tied = [line.replace(" ", "\xa0").replace("\xa0·\xa0", " · ") for line in details if line]
    # an inch has room for about 13 characters of this size
    small = [part for line in tied for part in textwrap.wrap(line, int(13 * width))]
    # empty lines make room: the layout looks at this title, and not at the small print below it
    figure.suptitle(text + "\n" * len(small), x=0.08 / width, ha="left", fontsize=10, fontweight="bold")
    figure.text(0.08 / width, 1 - 0.26 / height, "\n".join(small), va="top", color=GREY, fontsize=8)


def seed_bars(axes: Any, bars: Iterable[tuple[float, float, float]], colour: str) -> None:
    """Draw the standard deviation over seeds behind points, apart from the intervals of test images.

    Args:
        axes: To draw in.
        bars: (x, y, standard deviation) of each point; nothing is drawn for 0.
        colour: Of the points.
    """
    for x, y, deviation in bars:
        if deviation:
            axes.vlines(x, y - deviation, y + deviation, color=colour, zorder=1.5, **_SEEDS)


def bar_handles(axes: Any, interval: str, seeds: str) -> list[Any]:
    """Return what a legend shows of error bars: the interval in words, and the deviation over seeds if there is one."""
    handles = [axes.errorbar([], [], yerr=[], **BAR, color="black", linestyle="", label=interval)]
    return handles + ([axes.plot([], [], color="black", **_SEEDS, label=seeds, linestyle="-")[0]] if seeds else [])


def save_figure(figure: Figure | None, path_stem: Path) -> list[Path]:
    """Write a figure as ``<path_stem>.png`` and ``<path_stem>.svg``.

    The same results give the same bytes: neither file says when or by which version of matplotlib it was made.

    Args:
        figure: As `accuracy_figure` and the others return it; None writes nothing.
        path_stem: Where to, without suffix. Dots in the name stay.

    Returns:
        Both paths, or none.
    """
    if figure is None:
        return []
    paths = []
    for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
        content = io.BytesIO()
        figure.savefig(content, format=kind, metadata=metadata)
        paths.append(path_stem.with_name(f"{path_stem.name}.{kind}"))
        write_bytes(paths[-1], content.getvalue())
    return paths
