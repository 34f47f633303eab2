"""matplotlib figures that keep our style wherever they are drawn. It imports matplotlib: import it on first use."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

import matplotlib
from matplotlib.figure import Figure

# Also in `canvas`, which imports this module on first use: modules must not import each other.
GREY = "#666666"
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
    # text stays text, which can be searched and read aloud, and not outlines of letters
    "svg.fonttype": "none",
    "svg.hashsalt": "sat-core",  # without it the ids in an SVG differ from process to process
}


@contextmanager
def style() -> Iterator[None]:
    """Use matplotlib's defaults and our style inside, whatever the user has set; restore the user's settings after."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a script that the font lacks: boxes in the PNG, text in the SVG
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


@final
class StyledFigure(Figure):
    """A figure that draws and saves itself in our style, and that notebooks show without pyplot."""

    def draw(self, renderer: Any) -> None:
        """Draw in our style. matplotlib makes ticks and their labels only now, from the settings of this moment."""
        with style():
            super().draw(renderer)

    def savefig(self, fname: Any, **options: Any) -> None:
        """Save in our style; arguments as in matplotlib."""
        with style():
            super().savefig(fname, **options)

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.savefig(content, format="png")
        return content.getvalue()
