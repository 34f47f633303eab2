"""How far scores of difficulty agree, of one ranking or of several, as heat maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sat_core.agreement import Agreement, shown_rho
from sat_core.errors import DataError
from sat_core.ranking import Ranking
from sat_evaluation.figures.canvas import drawing, heading
from sat_evaluation.results.text import percent, shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CELL = 0.37
"""Inches, with room for a number of four characters."""


def agreement_of(rankings: Mapping[str, Ranking], metrics: Sequence[str] = ("entropy",)) -> Agreement:
    """Compare scores of several rankings of the same training examples, every two of them.

    Args:
        rankings: By their names, such as the network that ranked. A published order counts as one score.
        metrics: Scores that are taken of each ranking that has them.

    Raises:
        DataError: There is no ranking, or they are of different numbers of examples.
    """
    scores: dict[str, np.ndarray] = {}
    for name, ranking in rankings.items():
        if ranking.order is not None:
            places = np.empty(len(ranking.order))
            places[ranking.order] = np.arange(len(ranking.order), 0, -1)  # higher is harder
            scores[name] = places
        for metric in metrics:
            if metric in ranking.scores:
                scores[f"{name}: {metric}" if len(metrics) > 1 else name] = ranking.scores[metric]
    sizes = {len(values) for values in scores.values()}
    if len(sizes) != 1:
        counts = " and ".join(map(str, sorted(sizes))) or "none"
        raise DataError(f"agreement: expected rankings of the same training examples, got {counts}")
    return Agreement.of(scores)


def agreement_figure(agreement: Agreement, *details: str) -> Figure:
    """Draw Spearman's ρ of every two scores, and which share of the hardest examples they have in common.

    Args:
        agreement: Of a ranking, as `sat_core.ranking.Ranking.agreement` returns it.
        details: Small print under the heading, as data set and model.

    Raises:
        NotInstalledError: matplotlib is missing.
    """
    names = [shown(name, 36) for name in agreement.metrics]
    side = max(2.0, _CELL * len(names))
    with drawing(2 * side + 2.6, 2 * side + 2.6) as figure:
        rho, *overlaps = figure.subplots(2, 2, sharex=True, sharey=True).ravel()
        _map(rho, agreement.rho, names, "Spearman's ρ", cmap="RdBu_r", vmin=-1, vmax=1)
        for axes, (share, values) in zip(overlaps, agreement.overlap.items(), strict=True):
            title = f"% of the hardest {percent(share)} in common (chance: {100 * share:.0f})"
            _map(axes, 100 * values, names, title, cmap="Blues", vmin=0, vmax=100)
        # seen on the diagonal, where a reader expects 100
        tied = any((values.diagonal() < 1 - 1e-9).any() for values in agreement.overlap.values())
        ties = "ties: the mean over all choices, below 100 on the diagonal, too" if tied else ""
        heading(figure, "Agreement of scores of difficulty", *details, ties)
    return figure


def _map(axes: Any, values: np.ndarray, names: list[str], title: str, **look: Any) -> None:
    axes.pcolormesh(values, edgecolor="white", linewidth=0.3, **look)
    for (y, x), value in np.ndenumerate(values):
        # White on the dark ends of the colours.
        dark = abs(value) > 0.65 * look["vmax"]
        text = shown_rho(value) if look["vmax"] == 1 else f"{value:.0f}"
        axes.text(x + 0.5, y + 0.5, text, ha="center", va="center", fontsize=7, color="white" if dark else "black")
    middles = np.arange(len(names)) + 0.5
    axes.set_xticks(middles, names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(middles, names)
    axes.set_ylim(len(names), 0)
    axes.set_aspect("equal")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(title, fontsize=9)
