"""The reliability plot: accuracy over confidence (Guo et al. 2017, Fig. 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sat_core.calibration import Calibration, CalibrationSummary
from sat_evaluation.figures.canvas import COLOURS, GREY, GRID, drawing, heading
from sat_evaluation.results.text import epsilon

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def reliability_figure(summary: CalibrationSummary, *details: str) -> Figure:
    """Draw accuracy over confidence, and how many images have which confidence, clean and attacked.

    Points on the diagonal are calibrated; below it, a network is too sure of itself.

    Args:
        summary: Of a network.
        details: Small print under the heading, as data set and model.

    Raises:
        NotInstalledError: matplotlib is missing.
    """
    panels = [("clean images", summary.clean)]
    if summary.adversarial is not None:
        panels.append((f"PGD-10, {summary.norm} ε = {epsilon(summary.eps)}", summary.adversarial))
    with drawing(3.2 * len(panels) + 0.4, 3.9) as figure:
        axes = figure.subplots(2, len(panels), squeeze=False, sharex=True, sharey="row", height_ratios=(3, 1))
        for place, (title, calibration) in enumerate(panels):
            _reliability(axes[0, place], calibration, title)
            _histogram(axes[1, place], calibration)
        axes[0, 0].set_ylabel("accuracy")
        axes[1, 0].set_ylabel("images, %")
        heading(figure, "Calibration", *details)
    return figure


def _reliability(axes: Any, calibration: Calibration, title: str) -> None:
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    filled = [each for each in calibration.bins if each.count]
    axes.plot(
        [each.confidence for each in filled], [each.accuracy for each in filled], "o-", color=COLOURS[0], clip_on=False
    )
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.grid(color=GRID)
    axes.set_title(f"{title}\nECE {100 * calibration.ece:.1f} %, n = {calibration.examples:,}", fontsize=9)


def _histogram(axes: Any, calibration: Calibration) -> None:
    shares = [100 * each.count / calibration.examples for each in calibration.bins]
    width = calibration.bins[0].high - calibration.bins[0].low
    axes.bar([each.low for each in calibration.bins], shares, width, align="edge", color=COLOURS[0], edgecolor="white")
    axes.set_xlabel("confidence")
    axes.grid(color=GRID, axis="y")
