"""Accuracies by class as a heat map: numbers with their intervals, marked where few test images stand behind them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from sat_evaluation.figures.class_data import SMALL, ClassCell

SMALLEST_WITH_NUMBERS = 0.3
"""Inches of a cell below which there is no room for a number in it."""
_SMALLEST_WITH_INTERVALS = 0.45
_DARK = 70
"""Percent above which a cell is dark, and its text white."""
MARK = "*"
"""Behind numbers of few test images."""


def cell_size(columns: int, *, lines: int = 2) -> float:
    """Return the side of a cell in inches, with room for as many lines of text if columns are few; 9 in all at most."""
    return min(0.26 + 0.14 * lines, 9 / max(1, columns))


def class_names(axes: Any, names: Sequence[str]) -> None:
    """Label the columns with names of classes, tilted if they are long."""
    tilted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if any(len(name) > 3 for name in names) else {}
    axes.set_xticks(range(len(names)), names, **tilted)


def cell_notes(cells: Iterable[ClassCell], size: float, *, images: str = "test images") -> list[str]:
    """Return what is to be said of numbers in cells of this size; images: which ones they are of."""
    notes = ["below each number: its interval"] if size >= _SMALLEST_WITH_INTERVALS else []
    small = size > SMALLEST_WITH_NUMBERS and any(cell.small for cell in cells)
    return notes + [f"{MARK}: fewer than {SMALL} {images}"] * small


def draw_cells(axes: Any, places: np.ndarray, lines: Sequence[Sequence[ClassCell]], size: float) -> Any:
    """Draw one cell per line and class, framed where A itself is tested; white where a class has no test example.

    Args:
        axes: To draw in.
        places: Of the lines, from top to bottom, `(lines,)`.
        lines: Cells of each line, in the order of classes.
        size: Side of a cell in inches, which decides what is written into it.

    Returns:
        What a colour bar shows; all cells have the same scale.
    """
    from matplotlib.patches import Rectangle

    columns = np.arange(len(lines[0]) + 1) - 0.5
    for y, line in zip(places, lines, strict=True):
        values = 100 * np.array([cell.value for cell in line], float)
        # a mesh of its own for each line, because of the gaps
        mesh = axes.pcolormesh(
            columns, (y - 0.5, y + 0.5), values[None], cmap="Blues", vmin=0, vmax=100, edgecolor="white", linewidth=0.3
        )
        for x, cell in enumerate(line):
            if size > SMALLEST_WITH_NUMBERS:
                _write(axes, x, y, cell, size)
            # not clipped: else frames at the edge lose half of their width
            if cell.framed:
                axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, linewidth=1.2, zorder=3, clip_on=False))
    axes.spines[:].set_visible(False)
    return mesh


def _write(axes: Any, x: float, y: float, cell: ClassCell, size: float) -> None:
    """Write the number, below it the interval and what others published, as far as they are there."""
    accuracy = cell.accuracy
    texts = [("–" if accuracy is None else f"{100 * accuracy.value:.0f}{MARK * cell.small}", 8.0)]
    if accuracy is not None and size >= _SMALLEST_WITH_INTERVALS:
        texts.append((f"{100 * accuracy.low:.0f}–{100 * accuracy.high:.0f}", 5.5))
    if cell.published is not None:
        texts.append((f"({100 * cell.published:.0f})", 6.5))
    colour = "white" if accuracy is not None and 100 * accuracy.value > _DARK else "black"
    step = 0.14 / size  # lines of text are 0.14 inches apart
    for number, (text, points) in enumerate(texts):
        middle = y + step * (number - (len(texts) - 1) / 2)
        axes.text(x, middle, text, ha="center", va="center", fontsize=points, color=colour)
