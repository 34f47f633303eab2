"""Robust and clean accuracy over the epochs of the trainings: robust overfitting (Rice et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sat_evaluation.figures.canvas import COLOURS, GRID, drawing, heading
from sat_evaluation.figures.overfitting_data import overfitting_curves
from sat_evaluation.figures.share_data import accuracy_limits
from sat_evaluation.results.headline import trained
from sat_evaluation.results.rows import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST = 14
"""Curves that are drawn, two for each colour."""
_DASHES = ("-", "--")


def overfitting_figure(rows: Sequence[Row]) -> Figure | None:
    """Draw robust and clean accuracy after each epoch that was measured; larger points are the epochs that were chosen.

    Args:
        rows: Arms of a study, as `sat_evaluation.results.rows.collect` returns them.

    Returns:
        The figure; None if no arm was measured after four epochs or more.

    Raises:
        NotInstalledError: matplotlib is missing.
    """
    every = overfitting_curves(rows)
    curves = every[:_MOST]
    if not curves:
        return None
    with drawing(8.6, 4.3 + 0.17 * -(-len(curves) // 2)) as figure:
        left, right = figure.subplots(1, 2)
        for axes, measure in ((left, "robust"), (right, "clean")):
            ends = []
            for number, curve in enumerate(curves):
                values = [100 * value for value in getattr(curve, measure)]
                colour, dashes = COLOURS[number % len(COLOURS)], _DASHES[number // len(COLOURS) % 2]
                lost = f" (lost at the end: {100 * curve.lost:.1f})"
                axes.plot(curve.epochs, values, color=colour, linestyle=dashes, label=curve.label + lost)
                chosen = [(e, v) for e, v in zip(curve.epochs, values, strict=True) if e in curve.chosen]
                axes.plot(*zip(*chosen, strict=True), "o", color=colour, markersize=5) if chosen else None
                ends += values
            axes.set_ylim(accuracy_limits(ends, (-2, 102)))
            axes.set_xlabel("epoch")
            axes.set_ylabel(f"{measure} accuracy (%)")
            axes.grid(axis="y", color=GRID)
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8)
        several = any(len(curve.group.rows) > 1 for curve in curves)
        how = " / ".join(dict.fromkeys(f"{curve.attacks}, on {curve.n:,} images" for curve in curves))
        cut = f"the first {_MOST} of {len(every)} arms are drawn" if len(every) > _MOST else ""
        points = "points: the chosen epochs" + " · means over seeds" * several
        heading(figure, "Accuracy over the epochs of the training", trained(rows), f"{how} · {points}", cut)
    return figure
