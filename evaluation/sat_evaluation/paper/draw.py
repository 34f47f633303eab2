"""The paper's figures as matplotlib figures, with published numbers behind ours under the authors' protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from sat_core.datasets import get_dataset
from sat_core.ranking import Ranking
from sat_evaluation.figures.canvas import BAR, COLOURS, GREY, GRID, drawing, heading, seed_bars
from sat_evaluation.figures.class_data import class_difficulty, class_lists
from sat_evaluation.figures.matrix import matrix_figure
from sat_evaluation.figures.share_data import (
    MEASURES,
    PublishedCurve,
    ShareCurve,
    accuracy_limits,
    curve_names,
    published_on,
    share_curves,
)
from sat_evaluation.paper import published
from sat_evaluation.paper.panels import Panel, PaperFigure
from sat_evaluation.results.baseline import Baseline
from sat_evaluation.results.curves import group, of_seeds, spread
from sat_evaluation.results.headline import title
from sat_evaluation.results.rows import Row, attacks_of, together
from sat_evaluation.results.text import shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PanelRows = Mapping[str, tuple[list[Row], list[Row]]]
"""By the name of the panel: arms (of a transfer, heads on the target), and arms of the study itself."""
_BASELINES = {"plain": (Baseline.PLAIN.label, ":"), "full": (Baseline.FULL.label, "--")}
"""Baselines of a `ShareCurve`: what the legend calls them, and their dashes."""
_MARKERS = "osD^vP"
_PALE = {"alpha": 0.3}
_MOST_NAMES = 30
"""Classes below which bars are labelled with names."""


def curves_figure(figure: PaperFigure, rows: PanelRows) -> Figure:
    """Draw accuracy over |A|: a column for each data set or pair, a row for each measure.

    A single data set has its measures side by side. Lines show both baselines.
    """
    panels = [panel for panel in figure.panels if panel.name in rows]
    columns = [list(same_data) for _, same_data in groupby(panels, key=lambda panel: (panel.data, panel.target))]
    measures = [*((m, True) for m in panels[0].of_source), *((m, False) for m in panels[0].measures)]
    places = [(column, *measure) for measure in measures for column in columns]
    # of one data set, 2 to 4 measures: no place on the page is left over
    across = len(columns) if len(columns) > 1 else 3 if len(measures) == 3 else 2
    down = -(-len(places) // across)
    listed = _class_lists(figure, panels, rows)
    with drawing(1 + 3.2 * across, 1.7 + 2.5 * down + 0.16 * len(listed)) as page:
        handles: dict[str, Any] = {}
        sources: dict[str, None] = {}
        for axes, (column, measure, of_source) in zip(page.subplots(down, across).flat, places, strict=True):
            arms = together(arm for panel in column for arm in rows[panel.name][of_source])
            # published numbers were measured under the authors' protocol, and those of transfers on the target
            numbers: Sequence[PublishedCurve] = ()
            if arms[0].spec["protocol"] == "authors" and not of_source:
                numbers = published.curves(figure.name, column[0].data, column[0].target)
            sources |= dict.fromkeys(curve.source for curve in published_on(numbers, measure))
            _axes(axes, arms, measure, numbers, handles)
            if len(columns) > 1:
                axes.set_title(f"{column[0].title}\n{_model_and_threat(arms)}", fontsize=8)
            data = column[0].data if of_source else column[0].target
            axes.set_ylabel(f"{MEASURES[measure]} (%)" + (f"\non {data}" if data else ""))
        arms = [arm for panel_arms, _ in rows.values() for arm in panel_arms]
        one = f"{panels[0].title} · {_model_and_threat(arms)}" if len(columns) == 1 else ""
        pale = f"pale: published, {' and '.join(sources)}" if sources else ""
        heading(page, _heading(figure), one, _details(arms), pale, *listed)
        page.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, fontsize=8)
    return page


def _class_lists(figure: PaperFigure, panels: Sequence[Panel], rows: PanelRows) -> list[str]:
    """Which classes the arms of Fig. 4 attack, in lines; of other figures none."""
    if figure.name != "fig4":
        return []
    named = [(panel, class_lists(rows[panel.name][0])) for panel in panels]
    several = len(named) > 1
    return [f"A{f' on {panel.title}' * several}, {line}" for panel, lines in named for line in lines]


def _axes(
    axes: Any, rows: Sequence[Row], measure: str, numbers: Sequence[PublishedCurve], handles: dict[str, Any]
) -> None:
    """Draw one accuracy of all curves in `rows`. handles: label to what the legend shows, added to."""
    curves = share_curves(rows, measure, numbers)
    names = curve_names([curve.arms for curve in curves], mean=True)
    ends = [end for c in curves for point in c.points for end in point.ends]
    for curve, label in zip(curves, names, strict=True):
        if curve.points:
            x, y = [point.share + curve.offset for point in curve.points], [point.value for point in curve.points]
            bars = [[p.value - p.low for p in curve.points], [p.high - p.value for p in curve.points]]
            style = {"color": _colour(curve), "marker": _MARKERS[curve.number % len(_MARKERS)], **BAR}
            seed_bars(axes, zip(x, y, (point.deviation for point in curve.points), strict=True), _colour(curve))
            handles.setdefault(label, axes.errorbar(x, y, yerr=bars, **style))
    for name, (label, dashes) in _BASELINES.items():
        # one baseline of all curves is grey; where each has its own, it has the colour of its curve
        own = len({id(getattr(curve.arms, name)) for curve in curves}) > 1
        for curve in curves:
            style = {"color": GREY, "linestyle": dashes, "linewidth": 1}
            if getattr(curve.arms, name) is None:
                continue
            handles.setdefault(label, axes.plot([], [], **style)[0])
            points = getattr(curve, name)
            ends += [point.value for point in points]
            if not curve.on_part:
                axes.axhline(points[0].value, zorder=0, **{**style, "color": _colour(curve) if own else GREY})
            elif points:  # on A and on B a baseline differs from point to point, with the classes of the arms
                colour = _colour(curve) if len(curves) > 1 else GREY
                x, y = [point.share for point in points], [point.value for point in points]
                axes.plot(x, y, zorder=1, **{**style, "color": colour})
    ends += _behind(axes, curves, published_on(numbers, measure))
    axes.set_ylim(accuracy_limits(ends, (-2, 101)))
    axes.set_xlabel("|A|: part that is attacked (%)")
    axes.set_xlim(0, 100)
    axes.grid(axis="y", color=GRID)


def _colour(curve: ShareCurve) -> str:
    return COLOURS[curve.number % len(COLOURS)]


def _behind(axes: Any, curves: Sequence[ShareCurve], numbers: Sequence[PublishedCurve]) -> list[float]:
    """Draw published curves as broad pale lines in the colour of ours; return their values."""
    values = []
    for curve in curves:
        for points in curve.published:
            style = {"marker": "s", "markersize": 6} if len(points) == 1 else {"linewidth": 5}
            x, y = [point.share for point in points], [point.value for point in points]
            axes.plot(x, y, color=_colour(curve), zorder=0.5, **_PALE, **style)
            values += y
    losses = {one.loss for one in numbers}
    for one, full in ((one, 100 * one.full) for one in numbers if one.full is not None):
        like = [curve for curve in curves if curve.arms.groups[0].rows[0].spec["loss.kind"] == one.loss]
        colour = _colour(like[0]) if like and len(losses) > 1 else GREY
        axes.axhline(full, color=colour, linewidth=5, zorder=0, **_PALE)
        values.append(full)
    return values


def class_figures(figure: PaperFigure, rows: PanelRows) -> dict[str, Figure]:
    """Draw bars of robust accuracy on A and on B and the class-by-class matrix; file name to figure of a data set."""
    drawn = {}
    for panel in (panel for panel in figure.panels if panel.name in rows):
        arms = rows[panel.name][0]
        numbers = published.classes(figure.name, panel.data) if arms[0].spec["protocol"] == "authors" else None
        name = figure.name if len(figure.panels) == 1 else f"{figure.name}-{panel.name.split('-', 1)[1]}"
        matrix = matrix_figure(arms, numbers)
        if matrix is not None:
            drawn[name] = matrix
    return drawn


def difficulty_figure(figure: PaperFigure, rankings: Mapping[str, tuple[str, Ranking]]) -> Figure | None:
    """Draw mean entropy and error of each class, hardest first, a row for each data set; None without a ranking.

    Args:
        figure: The paper's figure, for its title.
        rankings: Role to (name of the data set, ranking).
    """
    if not rankings:
        return None
    with drawing(7.2, 1.3 + 2.4 * len(rankings)) as page:
        axes = page.subplots(len(rankings), 2, squeeze=False)
        for (left, right), (role, (name, ranking)) in zip(axes, rankings.items(), strict=True):
            data = get_dataset(name)
            difficulty = class_difficulty(ranking, data.train.labels)
            order = difficulty.order
            few = len(order) <= _MOST_NAMES
            names = [shown(data.class_names[c], 14) for c in order] if few else []
            for place, metric, factor, words in (
                (left, "entropy", 1, "mean softmax entropy (nats)"),
                (right, "error", 100, "error in training (%)"),
            ):
                heights = [factor * difficulty.means[metric][c] for c in order]
                place.bar(range(len(order)), heights, color=COLOURS[0], width=0.8 if few else 1)
                long = max(map(len, names), default=0) > 2
                place.set_xticks(range(len(names)), names, rotation=45 if long else 0, ha="right" if long else "center")
                place.set_xlabel("class" if few else f"{len(order)} classes, hardest by entropy first")
                place.set_ylabel(words)
                place.set_title(role, fontsize=9)
        heading(page, _heading(figure), "means over the training examples of a class and over epochs")
    return page


def _heading(figure: PaperFigure) -> str:
    return f"Fig. {figure.name[3:]}: {figure.title}" if figure.name.startswith("fig") else figure.title


def _model_and_threat(rows: Sequence[Row]) -> str:
    # in the order of `title`: data, model, threat model, attacks, n
    return " · ".join(title(rows).split(" · ")[1:3])


def _details(rows: Sequence[Row]) -> str:
    """Attacks, number of examples, and what bars mean, in one line."""
    counts = " to ".join(f"{n:,}" for n in sorted({min(row.n for row in rows), max(row.n for row in rows)}))
    groups = [g for g in group(rows) if not g.rows[0].baseline]
    bars, seeds = f"bars: {spread(groups)}", of_seeds(groups)
    return " · ".join(
        [f"{attacks_of(rows)} on {counts} test images", bars, *([f"broad bars: {seeds}"] if seeds else [])]
    )
