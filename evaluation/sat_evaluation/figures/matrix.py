"""The class-by-class matrix of a study in which A is made of classes (paper, Fig. 2 right)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sat_evaluation.figures.canvas import COLOURS, GREY, canvas, heading
from sat_evaluation.results.curves import Group, Series, series
from sat_evaluation.results.headline import title
from sat_evaluation.results.rows import Row
from sat_evaluation.results.text import shown

if TYPE_CHECKING:
    from sat_evaluation.paper.published import Classes


def matrix_plot(rows: Sequence[Row], path_stem: Path, published: Classes | None = None) -> list[Path]:
    """Robust accuracy on each class where A is made of classes, as [PNG, SVG]; nothing without such an arm.

    Lines: the classes attacked; columns: the class tested; framed where it is among them (paper, Fig. 2 right). Beside
    it, robust accuracy on A and on B. Of curves that differ in other settings the first is drawn; seeds are averaged.
    published: numbers of others for arms with a single class, in brackets and as ticks.
    """
    curve, lines = matrix_lines(rows)
    if curve is None:
        return []
    names = [shown(name, 20) for name in rows[0].class_names]
    single = all(len(g.rows[0].classes) == 1 for g in curve.groups)
    is_class = [not g.rows[0].baseline for g in lines]
    places = np.arange(len(lines)) + np.cumsum([0, *(0.15 * (a != b) for a, b in pairwise(is_class))])
    cell = min(0.52 if published else 0.42, 9 / len(names))
    width, height = max(4, cell * len(names)), max(2, cell * len(lines))
    with canvas(width + 3.4, height + 2.3) as (figure, save):
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=[width, 2.3])
        long = any(len(name) > 3 for name in names)
        tilted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if long else {}
        left.set_xticks(range(len(names)), names, **tilted)
        left.set_yticks(places, [g.rows[0].baseline or members(g, names) for g in lines])
        left.set_ylim(places[-1] + 0.5, -0.5)
        left.set_xlabel(f"class of the test images (framed: the attacked {'one' if single else 'ones'})")
        left.set_ylabel(f"A: the {'class' if single else 'classes'} attacked in training")
        left.tick_params(length=0, labelsize=min(9, 45 * cell))
        _cells(left, places, lines, published, numbers=cell > 0.3)
        _bars(right, places, lines, published, numbers=cell > 0.3)
        right.legend(loc="upper left", bbox_to_anchor=(0, -0.5 / height), handlelength=1).set_in_layout(False)
        words = f"Robust accuracy (%) when {'a single class is' if single else 'some classes are'} attacked"
        chosen = "" if curve.strategy == "listed" else f"{curve.strategy} first"
        source = f"published: {published.source}" if published else ""
        heading(figure, ", ".join(filter(None, [words, chosen, curve.settings])), title(rows), source)
        return save(path_stem)


def matrix_lines(rows: Sequence[Row]) -> tuple[Series | None, list[Group]]:
    """The first curve over sets of classes, and its groups with both baselines around them; none without such arms."""
    curves = [curve for curve in series(rows) if curve.groups[0].rows[0].kind == "classes"]
    if not curves or rows[0].source:  # classes of the source are none of the target's
        return None, []
    curve = curves[0]
    ordered = sorted(curve.groups, key=lambda g: (len(g.rows[0].classes), g.rows[0].classes))
    return curve, [g for g in (curve.none, *ordered, curve.full) if g is not None]


def members(g: Group, names: Sequence[str]) -> str:
    """Up to three names of the classes in A, or their number; seeds may have different ones."""
    classes = g.rows[0].classes
    same = all(row.classes == classes for row in g.rows)
    return ", ".join(names[c] for c in classes) if same and len(classes) <= 3 else f"{len(classes)} classes"


def single_class(g: Group) -> int | None:
    """The class in A, if it is one."""
    classes = {row.classes for row in g.rows}
    return g.rows[0].classes[0] if len(classes) == 1 and len(g.rows[0].classes) == 1 else None


def _cells(axes: Any, places: np.ndarray, lines: Sequence[Group], published: Classes | None, *, numbers: bool) -> None:
    """One cell per line and class, framed where A itself is tested; white where a class has no test example."""
    from matplotlib.patches import Rectangle

    columns = np.arange(len(lines[0].rows[0].per_class) + 1) - 0.5
    for y, g in zip(places, lines, strict=True):
        first, values = g.rows[0], 100 * np.array([row.per_class for row in g.rows], float).mean(0)
        cells = axes.pcolormesh(
            columns, (y - 0.5, y + 0.5), values[None], cmap="Blues", vmin=0, vmax=100, edgecolor="white", linewidth=0.3
        )
        for x, value in enumerate(values if numbers else ()):
            text, theirs = "–" if np.isnan(value) else f"{value:.0f}", None
            if published and first.baseline == "all":
                theirs = published.full[x]
            elif published and (c := single_class(g)) is not None:
                theirs = published.matrix[c][x]
            text += "" if theirs is None else f"\n({100 * theirs:.0f})"
            look = {"fontsize": 8 if theirs is None else 7, "color": "white" if value > 70 else "black"}
            axes.text(x, y, text, ha="center", va="center", **look)
        for c in () if first.baseline else set(first.classes).intersection(*(row.classes for row in g.rows)):
            axes.add_patch(Rectangle((c - 0.5, y - 0.5), 1, 1, fill=False, linewidth=1.2, zorder=3, clip_on=False))
    axes.spines[:].set_visible(False)
    axes.figure.colorbar(cells, ax=axes, location="bottom", aspect=40, label="robust accuracy (%)")


def _bars(axes: Any, places: np.ndarray, lines: Sequence[Group], published: Classes | None, *, numbers: bool) -> None:
    """Robust accuracy on A and on B of each line; of the baselines, which have no such parts, on all classes.

    Dots mark plain training on the same classes.
    """
    for field, label, colour, shift in (
        ("robust_a", "on A, attacked", COLOURS[1], -0.2),
        ("robust_b", "on B, not attacked", COLOURS[0], 0.2),
        ("all", "on all classes", GREY, 0.0),
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
    if published:
        theirs = {"robust_a": published.robust_a, "robust_b": published.robust_b}
        ticks = [
            (100 * theirs[field][c], y + shift)
            for field, shift in (("robust_a", -0.2), ("robust_b", 0.2))
            for y, g in zip(places, lines, strict=True)
            if not g.rows[0].baseline and (c := single_class(g)) is not None
        ]
        axes.plot(*zip(*ticks, strict=True), linestyle="", marker="|", markersize=9, color="black", label="published")
    if lines[0].rows[0].baseline == "none":
        plain = [
            (100 * value, y + shift)
            for field, shift in (("robust_a", -0.2), ("robust_b", 0.2))
            for y, g in zip(places, lines, strict=True)
            if not g.rows[0].baseline and (value := lines[0].on_part_of(g, field)) is not None
        ]
        label = "no adversarial examples"
        axes.plot(*zip(*plain, strict=True), linestyle="", marker=".", color="black", label=label, clip_on=False)
    axes.set_xlim(0, 105)
    axes.set_xticks([0, 50, 100])
    axes.spines["left"].set_visible(False)
    axes.tick_params("y", length=0, labelleft=False)
    axes.set_xlabel("robust accuracy (%)")


def _robust(g: Group, field: str) -> float | None:
    found = g.part("robust" if field == "all" else field)
    return None if found is None else found.value
