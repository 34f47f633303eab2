"""The paper's figures, PNG and SVG, with published numbers behind ours where both are of the authors' protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from statistics import stdev
from typing import Any

import numpy as np

from sat_core.datasets import get_dataset
from sat_core.ranking import Ranking
from sat_evaluation.figures.canvas import BAR, COLOURS, GREY, canvas, heading
from sat_evaluation.figures.matrix import matrix_plot
from sat_evaluation.paper import published
from sat_evaluation.paper.experiments import Figure
from sat_evaluation.results.curves import Group, Series, group, series
from sat_evaluation.results.headline import title
from sat_evaluation.results.rows import Accuracy, Row
from sat_evaluation.results.text import shown

Rows = Mapping[str, tuple[list[Row], list[Row]]]
"""By the name of the panel: arms (heads on the target, of a transfer), and arms of the study itself."""
_MEASURES = {
    "robust": "robust accuracy",
    "clean": "clean accuracy",
    "robust_a": "robust accuracy on A",
    "robust_b": "robust accuracy on B",
    "clean_b": "clean accuracy on B",
}
_LINES = {"none": ":", "full": "--"}
_MARKERS = "osD^vP"


def curves(figure: Figure, rows: Rows, out: Path) -> list[Path]:
    """A column for each data set or pair, a row for each measure; accuracy over |A|, with lines for both baselines.

    A single data set has its measures side by side.
    """
    panels = [panel for panel in figure.panels if panel.name in rows]
    columns = [list(found) for _, found in groupby(panels, key=lambda panel: (panel.data, panel.target))]
    measures = [*((m, True) for m in panels[0].of_source), *((m, False) for m in panels[0].measures)]
    places = [(found, *measure) for measure in measures for found in columns]
    across = len(columns) if len(columns) > 1 else 3 if len(measures) == 3 else 2
    down = -(-len(places) // across)
    with canvas(1 + 3.2 * across, 1.7 + 2.5 * down) as (page, save):
        handles: dict[str, Any] = {}
        sources: dict[str, None] = {}
        for axes, (found, measure, of_source) in zip(page.subplots(down, across).flat, places, strict=True):
            arms = [arm for panel in found for arm in rows[panel.name][of_source]]
            _plot(axes, arms, measure, handles)
            if arms[0].spec["protocol"] == "authors" and not of_source:
                sources |= _behind(axes, published.curves(figure.name, found[0].data, found[0].target), measure, arms)
            _frame(axes)
            if len(columns) > 1:
                axes.set_title(f"{found[0].title}\n{_measured(arms)}", fontsize=8)
            data = found[0].data if of_source else found[0].target
            axes.set_ylabel(f"{_MEASURES[measure]} (%)" + (f"\non {data}" if data else ""))
        arms = [arm for ours, _ in rows.values() for arm in ours]
        one = f"{panels[0].title} · {_measured(arms)}" if len(columns) == 1 else ""
        pale = f"pale: published, {' and '.join(sources)}" if sources else ""
        heading(page, _heading(figure), one, _details(arms), pale)
        page.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, fontsize=8)
        return save(out / figure.name)


def _plot(axes: Any, rows: Sequence[Row], measure: str, handles: dict[str, Any]) -> None:
    """One accuracy of all curves in `rows`; handles: label to what the legend shows, added to.

    On A and on B, baselines are drawn on the same classes as the arms, which differ from point to point.
    """
    found = series(rows)
    for number, curve in enumerate(found):
        aside = 0.8 * (number - (len(found) - 1) / 2)  # so that bars do not hide each other
        points = [
            (100 * g.rows[0].share + aside, *_spread(a, g, measure)) for g in curve.groups if (a := g.part(measure))
        ]
        if points:
            x, y, low, high = (list(values) for values in zip(*points, strict=True))
            style = {"color": COLOURS[number % len(COLOURS)], "marker": _MARKERS[number % len(_MARKERS)], **BAR}
            handles.setdefault(_label(curve, found), axes.errorbar(x, y, yerr=(low, high), **style))
    for name, label in (("none", "no adversarial examples"), ("full", "full AT")):
        style = {"color": GREY, "linestyle": _LINES[name], "linewidth": 1}
        for number, curve in enumerate(found):
            g: Group | None = getattr(curve, name)
            if g is None:
                continue
            handles.setdefault(label, axes.plot([], [], **style)[0])
            if "_" not in measure:
                axes.axhline(100 * g.accuracy(measure).value, zorder=0, **style)
                continue
            same = [(100 * one.rows[0].share, g.on_part_of(one, measure)) for one in curve.groups]
            known = [(share, 100 * value) for share, value in same if value is not None]
            if known:
                colour = COLOURS[number % len(COLOURS)] if len(found) > 1 else GREY
                axes.plot(*zip(*known, strict=True), zorder=1, **{**style, "color": colour})


def _frame(axes: Any) -> None:
    """At least 20 points from top to bottom, so that small differences look small."""
    low, high = axes.get_ylim()
    middle, half = (low + high) / 2, max(high - low, 20) / 2
    axes.set_ylim(max(-2, min(middle - half, 101 - 2 * half)), min(101, middle + half))
    axes.set_xlabel("|A|: part that is attacked (%)")
    axes.set_xlim(0, 100)
    axes.grid(axis="y", color="#eaeaea")


def _spread(a: Accuracy, g: Group, measure: str) -> tuple[float, float, float]:
    """Mean and what bars show below and above, in percent: 95 % interval of one seed, deviation of several."""
    if len(g.rows) > 1:
        deviation = 100 * stdev(getattr(row, measure).value for row in g.rows)
        return 100 * a.value, deviation, deviation
    return 100 * a.value, max(0.0, 100 * (a.value - a.low)), max(0.0, 100 * (a.high - a.value))


def _label(curve: Series, among: Sequence[Series]) -> str:
    several = len({other.strategy for other in among}) > 1 or not curve.settings
    strategy = f"{curve.strategy} (mean)" if len(curve.groups[0].rows) > 1 else curve.strategy
    return ", ".join(filter(None, [strategy if several else "", curve.settings]))


def _behind(axes: Any, theirs: Sequence[published.Curve], measure: str, arms: Sequence[Row]) -> dict[str, None]:
    """Published curves as broad pale lines in the colour of ours; returns their sources."""
    sources: dict[str, None] = {}
    for curve in theirs:
        if curve.measure != measure or curve.variant:
            continue
        sources[curve.source] = None
        for number, ours in enumerate(series(arms)):
            values = curve.like(ours.strategy, ours.groups[0].rows[0].spec["weighting.rule"])
            style = {"marker": "s", "markersize": 6} if len(values) == 1 else {"linewidth": 5}
            x, y = [100 * share for share in values], [100 * value for value in values.values()]
            axes.plot(x, y, color=COLOURS[number % len(COLOURS)], alpha=0.3, zorder=0.5, **style)
        if curve.full is not None:
            axes.axhline(100 * curve.full, color=GREY, alpha=0.3, linewidth=5, zorder=0)
    return sources


def classes(figure: Figure, rows: Rows, out: Path) -> list[Path]:
    """Bars of robust accuracy on A and B and the class-by-class matrix, a file for each data set."""
    paths = []
    for panel in (panel for panel in figure.panels if panel.name in rows):
        arms = rows[panel.name][0]
        behind = published.classes(figure.name, panel.data) if arms[0].spec["protocol"] == "authors" else None
        stem = figure.name if len(figure.panels) == 1 else f"{figure.name}-{panel.name.split('-', 1)[1]}"
        paths += matrix_plot(arms, out / stem, behind)
    return paths


def difficulty(figure: Figure, rankings: Mapping[str, tuple[str, Ranking]], out: Path) -> list[Path]:
    """Mean entropy and error of each class, hardest first, a row for each data set; nothing without a ranking.

    rankings: role to (data set, ranking).
    """
    if not rankings:
        return []
    with canvas(7.2, 1.3 + 2.4 * len(rankings)) as (page, save):
        axes = page.subplots(len(rankings), 2, squeeze=False)
        for (left, right), (role, (name, ranking)) in zip(axes, rankings.items(), strict=True):
            data = get_dataset(name)
            means = {
                metric: np.array([scores[data.train.labels == c].mean() for c in range(data.classes)])
                for metric, scores in ranking.scores.items()
            }
            order = np.argsort(-means["entropy"], kind="stable")
            few = len(order) <= 30
            names = [shown(data.class_names[c], 14) for c in order] if few else []
            for place, metric, factor, words in (
                (left, "entropy", 1, "mean softmax entropy (nats)"),
                (right, "error", 100, "error in training (%)"),
            ):
                place.bar(range(len(order)), factor * means[metric][order], color=COLOURS[0], width=0.8 if few else 1)
                long = max(map(len, names), default=0) > 2
                place.set_xticks(range(len(names)), names, rotation=45 if long else 0, ha="right" if long else "center")
                place.set_xlabel("class" if few else f"{len(order)} classes, hardest by entropy first")
                place.set_ylabel(words)
                place.set_title(role, fontsize=9)
        heading(page, _heading(figure), "means over the training examples of a class and over epochs")
        return save(out / figure.name)


def _heading(figure: Figure) -> str:
    return f"Fig. {figure.name[3:]}: {figure.title}" if figure.name.startswith("fig") else figure.title


def _measured(rows: Sequence[Row]) -> str:
    """Network and threat model."""
    return " · ".join(title(rows).split(" · ")[1:3])


def _details(rows: Sequence[Row]) -> str:
    """Attacks, number of examples, and what bars mean, in one line."""
    repeats = sorted({len(g.rows) for g in group(rows) if not g.rows[0].baseline})
    attacks = " / ".join(dict.fromkeys(row.attacks for row in rows))
    counts = " to ".join(f"{n:,}" for n in sorted({min(row.n for row in rows), max(row.n for row in rows)}))
    bars = ["95 % interval"] if repeats[0] == 1 else []
    if repeats[-1] > 1:
        bars.append(f"standard deviation of {' / '.join(str(n) for n in repeats if n > 1)} seeds")
    return f"{attacks} on {counts} test images · bars: {', '.join(bars)}"


PLOTS: dict[str, Callable[[Figure, Rows, Path], list[Path]]] = {"curves": curves, "classes": classes}
"""By the kind of figure."""
