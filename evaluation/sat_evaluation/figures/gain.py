"""Robust accuracy on B against that of full adversarial training on the same classes, for each set of classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sat_core.run_folder import RunFolder
from sat_evaluation.figures.canvas import BAR, COLOURS, GREY, GRID, drawing, heading
from sat_evaluation.figures.gain_data import gains_on_b
from sat_evaluation.results.headline import title
from sat_evaluation.results.rows import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST = 60
"""Lines that are drawn."""


def gain_figure(rows: Sequence[Row], folder: RunFolder | None = None) -> Figure | None:
    """Draw the gain on B of each set of classes, in points, with its 95 % interval.

    Args:
        rows: Arms of a study, as `sat_evaluation.results.rows.collect` returns them.
        folder: Of the study, for paired intervals; see `sat_evaluation.figures.gain_data.gains_on_b`.

    Returns:
        The figure; None if A is not made of classes, or full adversarial training was not run.

    Raises:
        NotInstalledError: matplotlib is missing.
    """
    every = gains_on_b(rows, folder)
    gains = every[:_MOST]
    if not gains:
        return None
    strategies = list(dict.fromkeys(gain.group.rows[0].strategy for gain in gains))
    with drawing(7.2, 1.6 + 0.24 * len(gains)) as figure:
        axes = figure.add_subplot()
        for place, gain in enumerate(gains):
            value, low, high = (100 * x for x in (gain.difference.value, gain.difference.low, gain.difference.high))
            colour = COLOURS[strategies.index(gain.group.rows[0].strategy) % len(COLOURS)]
            bars = [[max(0.0, value - low)], [max(0.0, high - value)]]
            axes.errorbar(value, place, xerr=bars, color=colour, marker="o", **BAR)
            text = f"{value:+.1f} [{low:+.1f}, {high:+.1f}], n = {gain.n:,}"
            axes.annotate(text, (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=7, color=GREY)
        axes.axvline(0, color=GREY, linewidth=0.8, zorder=0)
        axes.set_yticks(range(len(gains)), [gain.label for gain in gains], fontsize=8)
        axes.set_ylim(len(gains) - 0.5, -0.5)
        axes.set_xlabel("robust accuracy on B, minus that of full AT on the same classes (points)")
        axes.grid(axis="x", color=GRID)
        over = " or ".join(dict.fromkeys(gain.over for gain in gains))
        cut = f"the first {_MOST} of {len(every)} are drawn" if len(every) > _MOST else ""
        hows = " / ".join(dict.fromkeys(gain.how for gain in gains))
        heading(
            figure,
            "Gain on B against full AT on the same B",
            title(rows),
            f"bars: 95 % interval over {over} · {hows}",
            cut,
        )
    return figure
