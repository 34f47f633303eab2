"""The look of all plots, PNG and SVG: the same results give the same bytes; matplotlib's settings stay as they were."""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sat_core.errors import NotInstalledError, install
from sat_core.files import write_bytes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, to be told apart by everyone; without yellow, which vanishes on white."""
GREY = "#666666"
BAR = {"elinewidth": 1, "capsize": 2}
_STYLE: dict[Any, Any] = {
    "lines.linewidth": 1.4,
    "lines.markersize": 3.5,
    "font.size": 9,
    "text.parse_math": False,  # names from data sets are drawn as they are, dollar signs too
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "savefig.dpi": 160,
    "svg.fonttype": "none",
    "svg.hashsalt": "sat-core",
}


def heading(figure: Any, text: str, *details: str) -> None:
    """What is seen, in bold, and below `details`, broken at their dots; empty lines of the title keep room."""
    width, height = figure.get_size_inches()
    tied = [line.replace(" ", "\xa0").replace("\xa0·\xa0", " · ") for line in details if line]
    small = [part for line in tied for part in textwrap.wrap(line, int(13 * width))]
    figure.suptitle(text + "\n" * len(small), x=0.08 / width, ha="left", fontsize=10, fontweight="bold")
    figure.text(0.08 / width, 1 - 0.26 / height, "\n".join(small), va="top", color=GREY, fontsize=8)


@contextmanager
def canvas(width: float, height: float) -> Iterator[tuple[Any, Callable[[Path], list[Path]]]]:
    """A figure in inches and the function that writes it, under our settings alone, whatever the user's are."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise NotInstalledError(f"figures need matplotlib: {install('report')}") from error

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a script the font has not: boxes in the PNG, whole in the SVG
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        figure = Figure(figsize=(width, height), layout="constrained")

        def save(stem: Path) -> list[Path]:
            paths = []
            for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
                content = io.BytesIO()
                figure.savefig(content, format=kind, metadata=metadata)
                paths.append(stem.with_name(f"{stem.name}.{kind}"))
                write_bytes(paths[-1], content.getvalue())
            return paths

        yield figure, save
