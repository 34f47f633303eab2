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
from sat_evaluation.figures.class_entropy_data import (
    ClassTransfer,
    PublishedTransfer,
    class_transfer,
    difficulty_in_folder,
)
from sat_evaluation.figures.defence import defence_figure
from sat_evaluation.figures.gain import gain_figure
from sat_evaluation.figures.overfitting import overfitting_figure
from sat_evaluation.paper import published
from sat_evaluation.paper.panels import Panel, PaperFigure
from sat_evaluation.paper.reproduction import rows_folder, rows_of
from sat_evaluation.results.headline import title
from sat_evaluation.results.rows import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCORES = (ENTROPY, "error", "variance", "margin")
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


def transfer_of_classes(
    panels: Sequence[Panel], rows: Sequence[Row], out: ReproductionFolder
) -> tuple[ClassTransfer, PublishedTransfer | None] | None:
    """Return robust accuracy on B beside the entropy of the class in A, ours and the published; None if unfinished.

    Args:
        panels: The panel of the arms, and that of their ranking.
        rows: The finished arms.
        out: The folder of `sat reproduce`.
    """
    arms, ranked = panels
    folder = out.study(ranked.name).ranking
    if not rows or not folder.has_ranking:
        return None
    difficulty = difficulty_in_folder(rows_folder(arms, out), Ranking.read(folder), ENTROPY)
    transfer = class_transfer(rows, difficulty, ENTROPY)
    numbers = published.class_transfer(arms.data) if rows[0].spec["protocol"] == "authors" else None
    return transfer and (transfer, numbers if numbers and numbers.like(rows[0]) else None)


def _class_entropy(panels: Sequence[Panel], out: ReproductionFolder) -> Figure | None:
    rows = rows_of(panels[0], out)
    found = transfer_of_classes(panels, rows, out)
    return found and class_entropy_figure(found[0], title(rows), published=found[1])


def rankings_of(panels: Sequence[Panel], out: ReproductionFolder) -> dict[str, Ranking]:
    """Return the finished rankings of panels, by network and seed."""
    rankings = {}
    for panel in panels:
        folder, spec = out.study(panel.name).ranking, panel.study.base
        if folder.has_ranking:
            seed = f", seed {spec.training.seed}" if spec.training.seed else ""
            rankings[f"{spec.ranking.model or spec.model.name}{seed}"] = Ranking.read(folder)
    return rankings


def _agreement(panels: Sequence[Panel], out: ReproductionFolder) -> Figure | None:
    rankings = rankings_of(panels, out)
    return agreement_figure(agreement_of(rankings, SCORES), panels[0].title) if rankings else None


KINDS: dict[str, Callable[[Sequence[Panel], ReproductionFolder], Figure | None]] = {
    "defence": lambda panels, out: defence_figure(rows_of(panels[0], out)),
    "gain": lambda panels, out: gain_figure(rows_of(panels[0], out), rows_folder(panels[0], out)),
    "class-entropy": _class_entropy,
    "agreement": _agreement,
    "overfitting": lambda panels, out: overfitting_figure(rows_of(panels[0], out)),
}
"""Kind of a figure to what draws the panels of one data set."""
