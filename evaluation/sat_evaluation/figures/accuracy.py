"""Accuracy over |A|."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from sat_evaluation.figures.canvas import BAR, COLOURS, GREY, canvas, heading
from sat_evaluation.results.curves import Group, Series, series, spread
from sat_evaluation.results.headline import title
from sat_evaluation.results.rows import Row
from sat_evaluation.results.text import percent, shown

_DASHES = {"robust": "-", "clean": "--"}
_OFFSET = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}


def accuracy_plot(rows: Sequence[Row], path_stem: Path) -> list[Path]:
    """Robust and clean accuracy over |A|, one colour per curve, as [PNG, SVG]; nothing if no arm has a place on it.

    Bars are 95 % Wilson intervals of one seed, or lowest to highest of several. Each curve starts and ends in its
    baselines, which curves share. Single classes listed by hand make no curve: see `matrix_plot`.
    """
    curves = [c for c in series(rows) if c.strategy != "listed" or any(g.rows[0].units > 1 for g in c.groups)]
    if not curves:
        return []
    shared = [
        list({id(g): g for g in found if g}.values()) for found in zip(*((c.none, c.full) for c in curves), strict=True)
    ]
    with canvas(7.2, 4.9) as (figure, save):
        axes = figure.add_subplot()
        drawn = [_curve(axes, curve, COLOURS[i % len(COLOURS)]) for i, curve in enumerate(curves)]
        for groups in shared:
            _points(axes, groups, GREY)
        low, high = axes.get_ylim()
        axes.set_ylim(max(-2, low), min(102, high))
        _baselines(axes, *shared)
        _share_axis(axes, curves)
        axes.set_ylabel("accuracy on test images (%)")
        axes.grid(axis="y", color="#eaeaea")
        what = "Accuracy when only a part A of the training examples is attacked"
        if rows[0].source:
            source, target = shown(rows[0].source, 24), shown(rows[0].data, 24)
            what = f"Accuracy on {target} with features of {source}, a part A of which was attacked"
        heading(figure, what, title(rows))
        bars = axes.errorbar(
            [], [], yerr=[], **BAR, color="black", linestyle="", label=spread(g for c in curves for g in c.points)
        )
        lines = [
            axes.plot([], [], color="black", linestyle=dashes, label=f"{name} accuracy")[0]
            for name, dashes in _DASHES.items()
        ]
        blank = axes.plot([], [], linestyle="", label=" ")
        handles = [*lines, bars, *blank * (len(drawn) - 3), *drawn]
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
        return save(path_stem)


def _curve(axes: Any, curve: Series, colour: str) -> Any:
    """Lines through the baselines (classes listed by hand have no order: no line); returns what the legend shows."""
    x = [100 * g.rows[0].share for g in curve.points]
    line = "" if curve.strategy == "listed" else "-"
    for name, dashes in _DASHES.items():
        y = [100 * g.accuracy(name).value for g in curve.points]
        axes.plot(x, y, color=colour, linestyle=line and dashes)
    _points(axes, curve.groups, colour)
    what = f"A = {curve.strategy} {curve.groups[0].rows[0].kind}"
    label = ", ".join(filter(None, [what, curve.settings]))
    return axes.plot([], [], color=colour, linestyle=line, marker="o", label=textwrap.fill(label, 40))[0]


def _points(axes: Any, groups: Sequence[Group], colour: str) -> None:
    for g in groups:
        for name in ("robust", "clean"):
            a = g.accuracy(name)
            axes.errorbar(
                100 * g.rows[0].share,
                100 * a.value,
                yerr=[
                    [max(0, 100 * (a.value - a.low))],
                    [max(0, 100 * (a.high - a.value))],
                ],  # ends may be off by 1e-16
                color=colour,
                marker="o",
                markerfacecolor=colour if name == "robust" else "white",
                **BAR,
            )


def _baselines(axes: Any, none: list[Group], full: list[Group]) -> None:
    """Grey lines across at the robust accuracy of plain training and of full AT, where there is one of each kind."""
    found = [
        (groups[0].accuracy("robust").value, what)
        for groups, what in ((none, "plain training"), (full, "full AT"))
        if len(groups) == 1
    ]
    low, high = axes.get_ylim()
    close = len(found) == 2 and abs(found[0][0] - found[1][0]) < 0.0012 * (high - low)
    for place, (value, what) in zip(("top", "bottom"), sorted(found), strict=False):
        axes.axhline(100 * value, color=GREY, linewidth=0.8, zorder=0)
        axes.annotate(
            f"{what}\n{percent(value, 1)} robust",
            (1, 100 * value),
            (5, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va=place if close else "center",
            color=GREY,
            fontsize=8,
        )


def _share_axis(axes: Any, curves: Sequence[Series]) -> None:
    """|A| in percent with counts below: at the sizes that were run, or every 10 % where those lie too close."""
    total = curves[0].groups[0].rows[0].total
    ticks = sorted({100 * g.rows[0].share for curve in curves for g in curve.points})
    if any(b - a < 7 for a, b in pairwise(ticks)):
        ticks = list(range(0, 101, 10))
    axes.set_xticks(ticks, [percent(tick / 100) for tick in ticks])
    for tick in ticks:
        count = f"{round(tick * total / 100):,}"
        axes.annotate(count, (tick, 0), (0, -17), **_OFFSET, ha="center", va="top", color=GREY, fontsize=8)
    axes.set_xlim(-3, 103)
    axes.set_xlabel("|A|: training examples that are attacked, share and number", labelpad=16)
