"""The class-by-class matrix of a study in which A is made of classes (paper, Fig. 2 right)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from sat_evaluation.figures.canvas import BAR, COLOURS, GREY, drawing, heading
from sat_evaluation.figures.cells import SMALLEST_WITH_NUMBERS, cell_notes, cell_size, class_names, draw_cells
from sat_evaluation.figures.class_data import ClassLine, PublishedClasses, class_matrix
from sat_evaluation.results.baseline import Baseline
from sat_evaluation.results.curves import of_seeds, spread
from sat_evaluation.results.headline import title
from sat_evaluation.results.rows import Row
from sat_evaluation.results.text import shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
    curve, lines, published = matrix.curve, matrix.lines, matrix.published
    names = [shown(name, 20) for name in rows[0].class_names]
    single = all(len(g.rows[0].classes) == 1 for g in curve.groups)
    is_baseline = [bool(line.baseline) for line in lines]
    # a gap sets the baselines apart from the arms
    gaps = [0.15 * (above != below) for above, below in pairwise(is_baseline)]
    places = np.arange(len(lines)) + np.cumsum([0, *gaps])
    cell = cell_size(len(names), lines=3 if published else 2)
    width, height = max(4, cell * len(names)), max(2, cell * len(lines))
    with drawing(width + 3.9, height + 2.5) as figure:
        from matplotlib.transforms import ScaledTranslation

        left, right = figure.subplots(1, 2, sharey=True, width_ratios=[width, 2.6])
        class_names(left, names)
        left.set_yticks(places, [line.baseline or line.class_label(names) for line in lines])
        left.set_ylim(places[-1] + 0.5, -0.5)
        left.set_xlabel(f"class of the test images (framed: the attacked {'one' if single else 'ones'})")
        left.set_ylabel(f"A: the {'class' if single else 'classes'} attacked in training")
        left.tick_params(length=0, labelsize=min(9, 45 * cell))
        drawn = draw_cells(left, places, [line.cells for line in lines], cell)
        # one scale, 0 to 100, which also makes studies comparable
        figure.colorbar(drawn, ax=left, location="bottom", aspect=40, label="robust accuracy (%)")
        _bars(right, places, lines, published=published is not None, numbers=cell > SMALLEST_WITH_NUMBERS)
        # beside the colour bar, where the layout has left room already: three lines, 0.4 inches below the axes
        below = right.transAxes + ScaledTranslation(0, -0.4, figure.dpi_scale_trans)
        look = {"ncols": 2, "fontsize": 8, "handlelength": 1, "columnspacing": 1}
        legend = right.legend(loc="upper left", bbox_to_anchor=(0, 0), bbox_transform=below, **look)
        legend.set_in_layout(False)
        words = f"Robust accuracy (%) when {'a single class is' if single else 'some classes are'} attacked"
        chosen = "" if curve.strategy == "listed" else f"{curve.strategy} first"
        notes = [
            *cell_notes([cell for line in lines for cell in line.cells], cell),
            f"error bars: {spread(curve.points)}",
            *([f"broad bars: {seeds}"] if (seeds := of_seeds(curve.points)) else []),
        ]
        heading(
            figure, ", ".join(filter(None, [words, chosen, curve.settings])), title(rows), *_notes(published, notes)
        )
    return figure


def _notes(published: PublishedClasses | None, notes: Sequence[str]) -> list[str]:
    """Small print: what numbers and bars are, and where those in brackets and the ticks come from."""
    lines = [" · ".join(notes)]
    if published:
        lines += [f"in brackets: {published.matrix_source or published.source}", f"ticks: {published.source}"]
    return lines


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
            y, x = zip(*bars, strict=True)
            own = [entry for line in lines for entry in line.parts if entry.part == part]
            ends = [(100 * (p.value - p.accuracy.low), 100 * (p.accuracy.high - p.value)) for p in own]
            # rounding may leave the mean of several seeds just outside of its interval
            errors = np.maximum(np.array(ends).T, 0)
            style = {"error_kw": {**BAR, "ecolor": "black"}, "height": 0.4, "color": colour, "label": label}
            axes.barh(y, x, xerr=errors, **style)
            for place, entry in zip(y, own, strict=True):
                if entry.deviation:
                    # not beyond 100, where numbers stand
                    low, high = (min(100.0, 100 * (entry.value + sign * entry.deviation)) for sign in (-1, 1))
                    axes.hlines(place, low, high, color="black", linewidth=4.5, alpha=0.35)
            if numbers:
                # in a column of their own, where neither error bars nor marks are
                for place, value in bars:
                    axes.text(103, place, f"{value:.1f}", va="center", fontsize=7)
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
    axes.set_xlim(0, 118)  # room for the column of numbers
    axes.set_xticks([0, 50, 100])
    axes.spines["left"].set_visible(False)
    axes.tick_params("y", length=0, labelleft=False)
    axes.set_xlabel("robust accuracy (%)")
