"""Defence rate, the robust accuracy among correctly classified images, over |A| and by class (paper, Fig. 17)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sat_evaluation.figures.canvas import BAR, COLOURS, GREY, GRID, bar_handles, drawing, heading, seed_bars
from sat_evaluation.figures.cells import cell_notes, cell_size, class_names, draw_cells
from sat_evaluation.figures.defence_data import DefenceLine, defence_lines
from sat_evaluation.figures.share_data import ShareCurve, accuracy_limits, curve_names, share_curves
from sat_evaluation.results.curves import of_seeds, spread
from sat_evaluation.results.headline import title
from sat_evaluation.results.rows import Row
from sat_evaluation.results.text import shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_CLASSES = 40
"""Columns of a map; with more, it is left out."""


def defence_figure(rows: Sequence[Row]) -> Figure | None:
    """Draw the defence rate over |A|, and of the arms of the first curve on each class.

    Args:
        rows: Arms of a study, as `sat_evaluation.results.rows.collect` returns them.

    Returns:
        The figure; None if no arm is a proper subset.

    Raises:
        NotInstalledError: matplotlib is missing.
    """
    lines, curves = defence_lines(rows), share_curves(rows, "defence")
    names = [shown(name, 16) for name in rows[0].class_names] if rows else []
    mapped = len(names) <= _MOST_CLASSES
    if not lines or not (mapped or curves):
        return None
    cell = cell_size(len(names))
    width, height = cell * len(names) if mapped else 0.0, max(3.2, cell * len(lines) if mapped else 0.0)
    over_share = 4.2 if curves else 0.0
    with drawing(over_share + width + 1.9 * mapped, height + 1.9) as figure:
        grid = figure.add_gridspec(1, bool(curves) + mapped, width_ratios=[w for w in (over_share, width) if w])
        notes = [f"error bars: {spread(line.group for line in lines)}"]
        if curves:
            _over_share(figure.add_subplot(grid[0, 0]), curves)
        if mapped:
            axes = figure.add_subplot(grid[0, -1])
            _map(axes, lines, names, cell)
            notes += cell_notes([each for line in lines for each in line.cells], cell, images="correct images")
        heading(
            figure,
            "Defence rate: robust accuracy (%) among correctly classified images",
            title(rows),
            " · ".join(notes),
        )
    return figure


def _over_share(axes: Any, curves: Sequence[ShareCurve]) -> None:
    for curve, name in zip(curves, curve_names([curve.arms for curve in curves]), strict=True):
        colour = COLOURS[curve.number % len(COLOURS)]
        x, y = [point.share for point in curve.path], [point.value for point in curve.path]
        axes.plot(x, y, color=colour, label=name or "A")
        for point in curve.path:
            seed_bars(axes, [(point.share, point.value, point.deviation)], colour)
            bars = [[point.value - point.low], [point.high - point.value]]
            own = GREY if point in (*curve.plain, *curve.full) else colour
            axes.errorbar(point.share, point.value, yerr=bars, color=own, marker="o", **BAR)
    ends = [end for curve in curves for point in curve.path for end in point.ends]
    axes.set_ylim(accuracy_limits(ends, (-2, 102)))
    axes.set_xlim(-3, 103)
    axes.set_xlabel("|A|: part that is attacked (%)")
    axes.set_ylabel("defence rate (%)")
    axes.grid(axis="y", color=GRID)
    groups = [point.group for curve in curves for point in curve.path if point.group is not None]
    lines = axes.get_legend_handles_labels()[0]
    axes.legend(handles=[*lines, *bar_handles(axes, "95 % interval", of_seeds(groups))], fontsize=7)


def _map(axes: Any, lines: Sequence[DefenceLine], names: Sequence[str], cell: float) -> None:
    places = np.arange(len(lines), dtype=float)
    class_names(axes, names)
    axes.set_yticks(places, [line.label for line in lines])
    axes.set_ylim(places[-1] + 0.5, -0.5)
    axes.tick_params(length=0, labelsize=8)
    draw_cells(axes, places, [line.cells for line in lines], cell)
    framed = any(each.framed for line in lines for each in line.cells)
    axes.set_xlabel("class of the test images" + " (framed: in A)" * framed)
