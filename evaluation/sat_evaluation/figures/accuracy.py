"""Robust and clean accuracy of a study over |A|."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from sat_evaluation.figures.canvas import BAR, COLOURS, GREY, GRID, bar_handles, drawing, heading, seed_bars
from sat_evaluation.figures.share_data import Point, ShareCurve, accuracy_limits, share_curves
from sat_evaluation.results.baseline import Baseline
from sat_evaluation.results.curves import of_seeds, spread
from sat_evaluation.results.headline import title
from sat_evaluation.results.marks import EACH_BATCH
from sat_evaluation.results.rows import Row
from sat_evaluation.results.text import percent, public_name, shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DASHES = {"robust": "-", "clean": "--"}
_OFFSET = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
_MARKERS = "osD^"
_LINE = 0.19
"""Inches of a line in the legend."""
_MOST_LINES = 24
"""Lines of the legend that make a figure taller; a study may have thousands of curves."""
_Pair = tuple[Point, Point]
"""Robust and clean accuracy of the same arms."""


def accuracy_figure(rows: Sequence[Row]) -> Figure | None:
    """Draw robust and clean accuracy over |A|, one colour per curve.

    Error bars are 95 % Wilson intervals over test images; of several seeds, broad pale bars are the standard deviation.
    Each curve starts and ends in its baselines, which curves share.

    Args:
        rows: Arms of a study, as `sat_evaluation.results.rows.collect` returns them.

    Returns:
        The figure, which notebooks show; None if no arm has a place on a curve. Single classes listed by hand have
        none: see `matrix_figure`.

    Raises:
        NotInstalledError: matplotlib is missing.
    """
    curves = list(zip(share_curves(rows, "robust"), share_curves(rows, "clean"), strict=True))
    if not curves:
        return None
    plain, full = (_unique(getattr(robust, end) for robust, _ in curves) for end in ("plain", "full"))
    clean_plain, clean_full = (_unique(getattr(clean, end) for _, clean in curves) for end in ("plain", "full"))
    labels = [textwrap.fill(_label(robust), 40) for robust, _ in curves]
    rows_of_legend = sum(label.count("\n") + 1 for label in labels)
    with drawing(7.2, 4.9 + _LINE * min(max(0, rows_of_legend - 4), _MOST_LINES)) as figure:
        axes = figure.add_subplot()
        drawn = [_curve(axes, *pair, label) for pair, label in zip(curves, labels, strict=True)]
        for robust, clean in ((plain, clean_plain), (full, clean_full)):
            _points(axes, zip(robust, clean, strict=True), GREY, _MARKERS[0])
        ends = [end for pair in curves for curve in pair for point in curve.path for end in point.ends]
        # beyond 0 and 100, so that markers there are whole
        axes.set_ylim(accuracy_limits(ends, (-2, 102)))
        _baselines(axes, plain, full)
        _share_axis(axes, [robust for robust, _ in curves])
        axes.set_ylabel("accuracy on test images (%)")
        axes.grid(axis="y", color=GRID)
        words = "Accuracy when only a part A of the training examples is attacked"
        if rows[0].source:
            source, target = (shown(public_name(name), 24) for name in (rows[0].source, rows[0].data))
            words = f"Accuracy on {target} with features of {source}, a part A of which was attacked"
        heading(figure, words, title(rows))
        groups = [point.group for robust, _ in curves for point in robust.path if point.group is not None]
        # drawn empty, for the legend: what dashes and bars mean is the same for all colours
        bars = bar_handles(axes, spread(groups), of_seeds(groups))
        lines = [
            axes.plot([], [], color="black", linestyle=dashes, label=f"{name} accuracy")[0]
            for name, dashes in _DASHES.items()
        ]
        blank = axes.plot([], [], linestyle="", label=" ")
        # the legend has two columns: curves in the second, what holds for all in the first, filled up with blanks
        handles = [*lines, *bars, *blank * (len(drawn) - 2 - len(bars)), *drawn]
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def _unique(ends: Iterable[tuple[Point, ...]]) -> list[Point]:
    """Each baseline once, however many curves share it."""
    # by identity of the group: curves that share a baseline share its group, but have points of their own
    return list({id(point.group): point for points in ends for point in points}.values())


def _label(curve: ShareCurve) -> str:
    arms = curve.arms
    subset = f"A = {arms.strategy} {arms.groups[0].rows[0].kind}{f' ({arms.mark})' if arms.mark else ''}"
    # Where each batch chooses, no examples are A.
    return ", ".join(filter(None, [arms.chosen if arms.mark == EACH_BATCH else subset, arms.settings]))


def _curve(axes: Any, robust: ShareCurve, clean: ShareCurve, label: str) -> Any:
    """Draw lines through the baselines, and points; return what the legend shows."""
    arms, colour = robust.arms, COLOURS[robust.number % len(COLOURS)]
    # where colours begin anew, the marker changes
    marker = _MARKERS[robust.number // len(COLOURS) % len(_MARKERS)]
    line = "" if arms.strategy == "listed" else "-"  # classes listed by hand have no order
    for curve in (robust, clean):
        x, y = [point.share for point in curve.path], [point.value for point in curve.path]
        axes.plot(x, y, color=colour, linestyle=line and _DASHES[curve.measure])
    _points(axes, zip(robust.points, clean.points, strict=True), colour, marker)
    return axes.plot([], [], color=colour, linestyle=line, marker=marker, label=label)[0]


def _points(axes: Any, pairs: Iterable[_Pair], colour: str, marker: str) -> None:
    """Draw filled points for robust and hollow ones for clean accuracy."""
    for pair in pairs:
        for point, face in zip(pair, (colour, "white"), strict=True):
            bars = [[point.value - point.low], [point.high - point.value]]
            seed_bars(axes, [(point.share, point.value, point.deviation)], colour)
            axes.errorbar(point.share, point.value, yerr=bars, color=colour, marker=marker, markerfacecolor=face, **BAR)


def _baselines(axes: Any, plain: Sequence[Point], full: Sequence[Point]) -> None:
    """Draw grey lines across at the robust accuracy of plain training and of full AT, where there is one of each."""
    levels = [
        (points[0].value, baseline.label)
        for points, baseline in ((plain, Baseline.PLAIN), (full, Baseline.FULL))
        if len(points) == 1
    ]
    low, high = axes.get_ylim()
    close = len(levels) == 2 and abs(levels[0][0] - levels[1][0]) < 0.12 * (high - low)  # their texts would overlap
    # of two that are close, the lower text hangs from its line and the upper one stands on its own
    for place, (value, name) in zip(("top", "bottom"), sorted(levels), strict=False):
        axes.axhline(value, color=GREY, linewidth=0.8, zorder=0)
        axes.annotate(
            f"{name}\n{percent(value / 100, 1)} robust",
            (1, value),
            (5, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va=place if close else "center",
            color=GREY,
            fontsize=8,
        )


def _share_axis(axes: Any, curves: Sequence[ShareCurve]) -> None:
    """Label |A| in percent with counts below: at the sizes that were run, or every 10 % where those lie too close."""
    total = curves[0].arms.groups[0].rows[0].total
    ticks = sorted({point.share for curve in curves for point in curve.path})
    if any(b - a < 7 for a, b in pairwise(ticks)):
        ticks = list(range(0, 101, 10))
    axes.set_xticks(ticks, [percent(tick / 100) for tick in ticks])
    for tick in ticks:
        count = f"{round(tick * total / 100):,}"
        axes.annotate(count, (tick, 0), (0, -17), **_OFFSET, ha="center", va="top", color=GREY, fontsize=8)
    axes.set_xlim(-3, 103)
    axes.set_xlabel("|A|: training examples that are attacked, share and number", labelpad=16)
