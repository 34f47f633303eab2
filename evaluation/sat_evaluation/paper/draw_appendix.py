"""What the paper's appendix shows as matplotlib figures, from the finished studies of `sat reproduce`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from sat_core.ranking import Ranking
from sat_core.run_folder import ReproductionFolder
from sat_evaluation.figures.agreement import agreement_figure, agreement_of
from sat_evaluation.figures.appendix import ENTROPY
from sat_evaluation.figures.class_entropy import class_entropy_figure
from sat_evaluation.figures.class_entropy_data import class_transfer, difficulty_in_folder
from sat_evaluation.figures.defence import defence_figure
from sat_evaluation.figures.gain import gain_figure
from sat_evaluation.figures.overfitting import overfitting_figure
from sat_evaluation.paper import published
from sat_evaluation.paper.panels import Panel, PaperFigure
from sat_evaluation.paper.reproduction import rows_folder, rows_of
from sat_evaluation.results.headline import title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_METRICS = (ENTROPY, "error", "variance", "margin")
"""Scores that are compared between rankings: more would be too many for a page."""


def appendix_drawings(figure: PaperFigure, out: ReproductionFolder) -> dict[str, Figure]:
    """Draw a figure of the appendix from the finished arms in `out`.

    Args:
        figure: One whose kind is in `KINDS`.
        out: The folder of `sat reproduce`.

    Returns:
        Name of the file to figure, one for each data set. Empty if nothing is finished.

    Raises:
        NotInstalledError: matplotlib is missing.
        DataError: A ranking or a split is damaged.
    """
    drawn = {}
    data_sets = [list(panels) for _, panels in groupby(figure.panels, key=lambda panel: panel.data)]
    for panels in data_sets:
        made = KINDS[figure.kind](panels, out)
        if made is not None:
            drawn[figure.name if len(data_sets) == 1 else panels[0].name] = made
    return drawn


def _class_entropy(panels: Sequence[Panel], out: ReproductionFolder) -> Figure | None:
    arms, ranked = panels
    rows, folder = rows_of(arms, out), out.study(ranked.name).ranking
    if not rows or not folder.has_ranking:
        return None
    difficulty = difficulty_in_folder(rows_folder(arms, out), Ranking.read(folder), ENTROPY)
    transfer = class_transfer(rows, difficulty, ENTROPY)
    numbers = published.class_transfer(arms.data) if rows[0].spec["protocol"] == "authors" else None
    return transfer and class_entropy_figure(transfer, title(rows), published=numbers)


def _agreement(panels: Sequence[Panel], out: ReproductionFolder) -> Figure | None:
    rankings = {}
    for panel in panels:
        folder, spec = out.study(panel.name).ranking, panel.study.base
        if folder.has_ranking:
            seed = f", seed {spec.training.seed}" if spec.training.seed else ""
            rankings[f"{spec.ranking.model or spec.model.name}{seed}"] = Ranking.read(folder)
    return agreement_figure(agreement_of(rankings, _METRICS), panels[0].title) if rankings else None


KINDS: dict[str, Callable[[Sequence[Panel], ReproductionFolder], Figure | None]] = {
    "defence": lambda panels, out: defence_figure(rows_of(panels[0], out)),
    "gain": lambda panels, out: gain_figure(rows_of(panels[0], out), rows_folder(panels[0], out)),
    "class-entropy": _class_entropy,
    "agreement": _agreement,
    "overfitting": lambda panels, out: overfitting_figure(rows_of(panels[0], out)),
}
"""Kind of a figure to what draws the panels of one data set."""
