"""The class-by-class matrix of a study in which A is made of classes (paper, Fig. 2 right)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from sat_evaluation.figures.canvas import COLOURS, GREY, drawing, heading
from sat_evaluation.figures.class_data import ClassLine, PublishedClasses, class_matrix
from sat_evaluation.results.baseline import Baseline
from sat_evaluation.results.headline import title
from sat_evaluation.results.rows import Row
from sat_evaluation.results.text import shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SMALLEST_WITH_NUMBERS = 0.3
"""Inches of a cell below which there is no room for a number in it."""
_PARTS = (("robust_a", -0.2), ("robust_b", 0.2))
"""Bars of a line and their places beside its middle."""


def matrix_figure(rows: Sequence[Row], published: PublishedClasses | None = None) -> Figure | None:
    """Draw robust accuracy on each class where A is made of classes, and beside it robust accuracy on A and on B.

    Lines are the classes attacked, columns the class tested, framed where it is among them (paper, Fig. 2 right). Of
    curves that differ in other settings the first is drawn; seeds are averaged.

    Args:
        rows: Arms of a study, as `sat_evaluation.results.rows.collect` returns them.
        published: Numbers of others for arms with a single class, drawn in brackets and as ticks.

    Returns:
        The figure, which notebooks show; None if A is made of examples, or of classes of another data set.

    Raises:
        NotInstalledError: matplotlib is missing.
    """
    matrix = class_matrix(rows, published)
    if matrix is None:
        return None
    curve, lines = matrix.curve, matrix.lines
    names = [shown(name, 20) for name in rows[0].class_names]
    single = all(len(g.rows[0].classes) == 1 for g in curve.groups)
    is_baseline = [bool(line.baseline) for line in lines]
    # a gap sets the baselines apart from the arms
    gaps = [0.15 * (above != below) for above, below in pairwise(is_baseline)]
    places = np.arange(len(lines)) + np.cumsum([0, *gaps])
    # in inches: room for two lines where published numbers stand below ours; at most 9 for all columns
    cell = min(0.52 if published else 0.42, 9 / len(names))
    width, height = max(4, cell * len(names)), max(2, cell * len(lines))
    numbers = cell > _SMALLEST_WITH_NUMBERS
    with drawing(width + 3.4, height + 2.3) as figure:
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=[width, 2.3])
        long = any(len(name) > 3 for name in names)
        tilted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if long else {}
        left.set_xticks(range(len(names)), names, **tilted)
        left.set_yticks(places, [line.baseline or line.class_label(names) for line in lines])
        left.set_ylim(places[-1] + 0.5, -0.5)
        left.set_xlabel(f"class of the test images (framed: the attacked {'one' if single else 'ones'})")
        left.set_ylabel(f"A: the {'class' if single else 'classes'} attacked in training")
        left.tick_params(length=0, labelsize=min(9, 45 * cell))
        _cells(left, places, lines, numbers=numbers)
        _bars(right, places, lines, published=published is not None, numbers=numbers)
        # beside the colour bar, where the layout has left room already
        right.legend(loc="upper left", bbox_to_anchor=(0, -0.5 / height), handlelength=1).set_in_layout(False)
        words = f"Robust accuracy (%) when {'a single class is' if single else 'some classes are'} attacked"
        chosen = "" if curve.strategy == "listed" else f"{curve.strategy} first"
        source = f"published: {published.source}" if published else ""
        heading(figure, ", ".join(filter(None, [words, chosen, curve.settings])), title(rows), source)
    return figure


def _cells(axes: Any, places: np.ndarray, lines: Sequence[ClassLine], *, numbers: bool) -> None:
    """Draw one cell per line and class, framed where A itself is tested; white where a class has no test example."""
    from matplotlib.patches import Rectangle

    columns = np.arange(len(lines[0].cells) + 1) - 0.5
    for y, line in zip(places, lines, strict=True):
        values = 100 * np.array([cell.value for cell in line.cells], float)
        # a mesh of its own for each line, because of the gaps
        mesh = axes.pcolormesh(
            columns, (y - 0.5, y + 0.5), values[None], cmap="Blues", vmin=0, vmax=100, edgecolor="white", linewidth=0.3
        )
        for x, cell in enumerate(line.cells):
            if numbers:
                text = "–" if cell.value is None else f"{values[x]:.0f}"
                text += "" if cell.published is None else f"\n({100 * cell.published:.0f})"
                size, colour = 8 if cell.published is None else 7, "white" if values[x] > 70 else "black"
                axes.text(x, y, text, ha="center", va="center", fontsize=size, color=colour)
            # not clipped: else frames at the edge lose half of their width
            if cell.framed:
                axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, linewidth=1.2, zorder=3, clip_on=False))
    axes.spines[:].set_visible(False)
    # the last mesh stands for all: they share one scale, 0 to 100, which also makes studies comparable
    axes.figure.colorbar(mesh, ax=axes, location="bottom", aspect=40, label="robust accuracy (%)")


def _bars(axes: Any, places: np.ndarray, lines: Sequence[ClassLine], *, published: bool, numbers: bool) -> None:
    """Draw robust accuracy on A and on B of each line; of the baselines, which have no such parts, on all classes.

    Dots mark plain training on the same classes, ticks what others published.
    """

    def values(field: str, part: str, shift: float) -> list[tuple[float, float]]:
        pairs = [
            (y + shift, getattr(entry, field))
            for y, line in zip(places, lines, strict=True)
            for entry in line.parts
            if entry.part == part
        ]
        return [(y, 100 * value) for y, value in pairs if value is not None]

    for part, label, colour, shift in (
        ("robust_a", "on A, attacked", COLOURS[1], -0.2),
        ("robust_b", "on B, not attacked", COLOURS[0], 0.2),
        ("robust", "on all classes", GREY, 0.0),
    ):
        bars = values("value", part, shift)
        if bars:
            drawn = axes.barh(*zip(*bars, strict=True), height=0.4, color=colour, label=label)
            if numbers:
                axes.bar_label(drawn, fmt="%.0f", padding=2, fontsize=7)
    for field, look, shown_at_all in (
        ("published", {"marker": "|", "markersize": 9, "label": "published"}, published),
        (
            "plain",
            {"marker": ".", "label": Baseline.PLAIN.label, "clip_on": False},
            lines[0].baseline is Baseline.PLAIN,
        ),
    ):
        marks = [mark for part, shift in _PARTS for mark in values(field, part, shift)]
        if shown_at_all and marks:
            y, x = zip(*marks, strict=True)
            axes.plot(x, y, linestyle="", color="black", **look)
    axes.set_xlim(0, 105)
    axes.set_xticks([0, 50, 100])
    axes.spines["left"].set_visible(False)
    axes.tick_params("y", length=0, labelleft=False)
    axes.set_xlabel("robust accuracy (%)")
