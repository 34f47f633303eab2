"""The law of |A|: robust accuracy of a study over |A| with the fitted curve, its band, and the |A| that is enough."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sat_evaluation.figures.canvas import BAR, COLOURS, GREY, GRID, bar_handles, drawing, heading, seed_bars
from sat_evaluation.figures.share_data import MEASURES, accuracy_limits, points_of
from sat_evaluation.results.curves import of_seeds, spread
from sat_evaluation.results.headline import title
from sat_evaluation.results.law import CurveLaw, enough_words
from sat_evaluation.results.rows import Row
from sat_evaluation.results.text import percent
from sat_evaluation.statistics.law import OF_FULL

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 6
"""Curves that are drawn; bands of more hide each other."""
_DENSE = np.unique(np.concatenate([np.linspace(0, 0.1, 101), np.linspace(0.1, 1, 181)]))
"""|A|/N at which curves are drawn: they rise fast at first."""
_SPLINE = {"linewidth": 0.9, "linestyle": ":"}
_BAND = {"alpha": 0.15, "linewidth": 0}
_MARKER_ENOUGH = {"marker": "D", "markersize": 6, "markeredgecolor": "white", "linestyle": ""}
_WIDTH = 58
"""Characters of a line in the legend."""
_LINE = 0.19
"""Inches of such a line."""


def law_figure(rows: Sequence[Row], laws: Sequence[CurveLaw]) -> Figure | None:
    """Draw measured robust accuracies over |A| and the fitted law.

    Shaded is the law's 95 % interval at each |A|. A diamond with a bar to both sides is the |A| that reaches 95 % of
    full adversarial training's robust accuracy, with its interval. The dotted line is a monotone spline.

    Args:
        rows: Arms of a study, as `sat_evaluation.results.rows.collect` returns them.
        laws: Of these arms, as `sat_evaluation.results.law.curve_laws` returns them.

    Returns:
        The figure; None without a law.

    Raises:
        NotInstalledError: matplotlib is missing.
    """
    if not laws:
        return None
    drawn = laws[:MOST]
    labels = [textwrap.fill(_label(one), _WIDTH) for one in drawn]
    lines = sum(label.count("\n") + 1 for label in labels)
    groups = [group for one in drawn for group in one.arms.points]
    with drawing(7.2, 4.6 + _LINE * lines) as figure:
        axes = figure.add_subplot()
        ends: list[float] = []
        handles = [
            _draw(axes, one, COLOURS[number % len(COLOURS)], label, ends)
            for number, (one, label) in enumerate(zip(drawn, labels, strict=True))
        ]
        axes.set_ylim(accuracy_limits(ends, (-2, 102)))
        axes.set_xlim(-2, 102)
        ticks = range(0, 101, 10)
        axes.set_xticks(ticks, [percent(tick / 100) for tick in ticks])
        axes.set_xlabel("|A|: share of the training examples that are attacked")
        axes.set_ylabel(f"{MEASURES['robust']} (%)")
        axes.grid(color=GRID)
        count = max(len(laws), laws[0].of)
        more = f"the first {MOST} of {count} curves are drawn" if count > MOST else ""
        heading(
            figure,
            f"Which |A| is enough for {percent(OF_FULL)} of full AT's robust accuracy",
            title(rows),
            _over(drawn),
            more,
        )
        bars = bar_handles(axes, spread(groups), of_seeds(groups))
        common = [
            axes.fill_between([], [], color=GREY, **_BAND, label="95 % interval of the curve"),
            axes.plot([], [], color=GREY, **_SPLINE, label="monotone spline")[0],
            axes.plot([], [], color=GREY, **_MARKER_ENOUGH, label=f"{percent(OF_FULL)} of full AT, with interval")[0],
        ]
        figure.legend(handles=[*common, *bars, *handles], loc="outside lower center", ncols=2, fontsize=8)
    return figure


def _label(one: CurveLaw) -> str:
    doubt = "" if one.law.fits else f"; does not fit: {one.misfit}"
    return f"{one.name}: |A| = {enough_words(one.enough)}{doubt}"


def _over(drawn: Sequence[CurveLaw]) -> str:
    # wrapped at the dots
    return f"intervals of curves are over {' · or '.join(dict.fromkeys(one.over for one in drawn))}"


def _draw(axes: Any, one: CurveLaw, colour: str, label: str, ends: list[float]) -> Any:
    """Draw one curve; add what has to be seen of it to `ends`, in percent, and return what the legend shows."""
    x, curve = 100 * _DENSE, 100 * one.law.at(_DENSE)
    low, high = (100 * end for end in one.law.band(_DENSE))
    axes.fill_between(x, low, high, color=colour, **_BAND)
    axes.plot(x, curve, color=colour)
    axes.plot(x, 100 * one.spline.at(_DENSE), color=colour, **_SPLINE)
    points = points_of(one.arms.points, "robust")
    seed_bars(axes, [(point.share, point.value, point.deviation) for point in points], colour)
    for point in points:
        bars = [[point.value - point.low], [point.high - point.value]]
        axes.errorbar(point.share, point.value, yerr=bars, color=colour, marker="o", linestyle="", **BAR)
        ends.extend(point.ends)
    ends.extend((float(low.min()), float(high.max())))
    if one.enough.value >= 0:
        level = 100 * float(one.law.at(one.enough.value))
        axes.hlines(level, 100 * one.enough.low, 100 * one.enough.high, color=colour, linewidth=2.2, zorder=3)
        axes.vlines(100 * one.enough.value, -10, level, color=colour, linewidth=0.7, linestyle="--", zorder=0.5)
        axes.plot([100 * one.enough.value], [level], color=colour, **_MARKER_ENOUGH, zorder=4)
    return axes.plot([], [], color=colour, marker="o", label=label)[0]
