"""The plots of a study, PNG and SVG: the same results give the same bytes; matplotlib's settings stay as they were."""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from sat_core.errors import NotInstalledError
from sat_core.files import write_bytes
from sat_evaluation.summary import Group, Row, Series, percent, series, shown, spread, title

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, to be told apart by everyone; without yellow, which vanishes on white."""
_GREY = "#666666"
_DASHES = {"robust": "-", "clean": "--"}
_BAR = {"elinewidth": 1, "capsize": 2}
_OFFSET = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
_STYLE: dict[Any, Any] = {
    "lines.linewidth": 1.4,
    "lines.markersize": 3.5,
    "font.size": 9,
    "text.parse_math": False,  # names from data sets are drawn as they are, dollar signs too
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _GREY,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "savefig.dpi": 160,
    "svg.fonttype": "none",
    "svg.hashsalt": "sat-core",
}


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
    with _figure(7.2, 4.9) as (figure, save):
        axes = figure.add_subplot()
        drawn = [_curve(axes, curve, COLOURS[i % len(COLOURS)]) for i, curve in enumerate(curves)]
        for groups in shared:
            _points(axes, groups, _GREY)
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
        _heading(figure, what, rows)
        bars = axes.errorbar(
            [], [], yerr=[], **_BAR, color="black", linestyle="", label=spread(g for c in curves for g in c.points)
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
                **_BAR,
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
        axes.axhline(100 * value, color=_GREY, linewidth=0.8, zorder=0)
        axes.annotate(
            f"{what}\n{percent(value, 1)} robust",
            (1, 100 * value),
            (5, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va=place if close else "center",
            color=_GREY,
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
        axes.annotate(count, (tick, 0), (0, -17), **_OFFSET, ha="center", va="top", color=_GREY, fontsize=8)
    axes.set_xlim(-3, 103)
    axes.set_xlabel("|A|: training examples that are attacked, share and number", labelpad=16)


def _heading(figure: Any, text: str, rows: Sequence[Row]) -> None:
    """What is seen, in bold, and below what was measured, broken at the dots; empty lines of the title keep room."""
    width, height = figure.get_size_inches()
    small = textwrap.wrap(title(rows).replace(" ", "\xa0").replace("\xa0·\xa0", " · "), int(13 * width))
    figure.suptitle(text + "\n" * len(small), x=0.08 / width, ha="left", fontsize=10, fontweight="bold")
    figure.text(0.08 / width, 1 - 0.26 / height, "\n".join(small), va="top", color=_GREY, fontsize=8)


def matrix_plot(rows: Sequence[Row], path_stem: Path) -> list[Path]:
    """Robust accuracy on each class where A is made of classes, as [PNG, SVG]; nothing without such an arm.

    Lines: the classes attacked; columns: the class tested; framed where it is among them (paper, Fig. 2 right). Beside
    it, robust accuracy on A and on B. Of curves that differ in other settings the first is drawn; seeds are averaged.
    """
    curves = [curve for curve in series(rows) if curve.groups[0].rows[0].kind == "classes"]
    if not curves or rows[0].source:  # classes of the source are none of the target's
        return []
    curve = curves[0]
    names = [shown(name, 20) for name in rows[0].class_names]
    ordered = sorted(curve.groups, key=lambda g: (len(g.rows[0].classes), g.rows[0].classes))
    lines = [g for g in (curve.none, *ordered, curve.full) if g is not None]
    single = all(len(g.rows[0].classes) == 1 for g in ordered)
    is_class = [not g.rows[0].baseline for g in lines]
    places = np.arange(len(lines)) + np.cumsum([0, *(0.15 * (a != b) for a, b in pairwise(is_class))])
    cell = min(0.42, 9 / len(names))
    width, height = max(4, cell * len(names)), max(2, cell * len(lines))
    with _figure(width + 3.4, height + 2.3) as (figure, save):
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=[width, 2.3])
        long = any(len(name) > 3 for name in names)
        tilted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if long else {}
        left.set_xticks(range(len(names)), names, **tilted)
        left.set_yticks(places, [g.rows[0].baseline or _members(g, names) for g in lines])
        left.set_ylim(places[-1] + 0.5, -0.5)
        left.set_xlabel(f"class of the test images (framed: the attacked {'one' if single else 'ones'})")
        left.set_ylabel(f"A: the {'class' if single else 'classes'} attacked in training")
        left.tick_params(length=0, labelsize=min(9, 45 * cell))
        _cells(left, places, lines, numbers=cell > 0.3)
        _bars(right, places, lines, numbers=cell > 0.3)
        right.legend(loc="upper left", bbox_to_anchor=(0, -0.5 / height), handlelength=1).set_in_layout(False)
        heading = f"Robust accuracy (%) when {'a single class is' if single else 'some classes are'} attacked"
        chosen = "" if curve.strategy == "listed" else f"{curve.strategy} first"
        _heading(figure, ", ".join(filter(None, [heading, chosen, curve.settings])), rows)
        return save(path_stem)


def _members(g: Group, names: Sequence[str]) -> str:
    """Up to three names of the classes in A, or their number; seeds may have different ones."""
    classes = g.rows[0].classes
    same = all(row.classes == classes for row in g.rows)
    return ", ".join(names[c] for c in classes) if same and len(classes) <= 3 else f"{len(classes)} classes"


def _cells(axes: Any, places: np.ndarray, lines: Sequence[Group], *, numbers: bool) -> None:
    """One cell per line and class, framed where A itself is tested; white where a class has no test example."""
    from matplotlib.patches import Rectangle

    columns = np.arange(len(lines[0].rows[0].per_class) + 1) - 0.5
    for y, g in zip(places, lines, strict=True):
        first, values = g.rows[0], 100 * np.array([row.per_class for row in g.rows], float).mean(0)
        cells = axes.pcolormesh(
            columns, (y - 0.5, y + 0.5), values[None], cmap="Blues", vmin=0, vmax=100, edgecolor="white", linewidth=0.3
        )
        for x, value in enumerate(values if numbers else ()):
            text = "–" if np.isnan(value) else f"{value:.0f}"
            axes.text(x, y, text, ha="center", va="center", fontsize=8, color="white" if value > 70 else "black")
        for c in () if first.baseline else set(first.classes).intersection(*(row.classes for row in g.rows)):
            axes.add_patch(Rectangle((c - 0.5, y - 0.5), 1, 1, fill=False, linewidth=1.2, zorder=3, clip_on=False))
    axes.spines[:].set_visible(False)
    axes.figure.colorbar(cells, ax=axes, location="bottom", aspect=40, label="robust accuracy (%)")


def _bars(axes: Any, places: np.ndarray, lines: Sequence[Group], *, numbers: bool) -> None:
    """Robust accuracy on A and on B of each line; of the baselines, which have no such parts, on all classes."""
    for field, label, colour, shift in (
        ("robust_a", "on A, attacked", COLOURS[1], -0.2),
        ("robust_b", "on B, not attacked", COLOURS[0], 0.2),
        ("all", "on all classes", _GREY, 0.0),
    ):
        found = [
            (y + shift, 100 * value)
            for y, g in zip(places, lines, strict=True)
            if bool(g.rows[0].baseline) == (field == "all") and (value := _robust(g, field)) is not None
        ]
        if found:
            drawn = axes.barh(*zip(*found, strict=True), height=0.4, color=colour, label=label)
            if numbers:
                axes.bar_label(drawn, fmt="%.0f", padding=2, fontsize=7)
    axes.set_xlim(0, 105)
    axes.set_xticks([0, 50, 100])
    axes.spines["left"].set_visible(False)
    axes.tick_params("y", length=0, labelleft=False)
    axes.set_xlabel("robust accuracy (%)")


def _robust(g: Group, field: str) -> float | None:
    found = g.part("robust" if field == "all" else field)
    return None if found is None else found.value


@contextmanager
def _figure(width: float, height: float) -> Iterator[tuple[Any, Callable[[Path], list[Path]]]]:
    """A figure in inches and the function that writes it, under our settings alone, whatever the user's are."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise NotInstalledError("figures need matplotlib: pip install 'sat-core[report]'") from error

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a script the font has not: boxes in the PNG, whole in the SVG
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        figure = Figure(figsize=(width, height), layout="constrained")

        def save(stem: Path) -> list[Path]:
            paths = []
            for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
                content = io.BytesIO()
                figure.savefig(content, format=kind, metadata=metadata)
                paths.append(stem.with_name(f"{stem.name}.{kind}"))
                write_bytes(paths[-1], content.getvalue())
            return paths

        yield figure, save
