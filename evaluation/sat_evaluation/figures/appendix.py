"""What the paper's appendix has, drawn for any study that has the arms for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sat_core.errors import DataError
from sat_core.ranking import Ranking
from sat_core.run_folder import RunFolder
from sat_evaluation.figures.agreement import agreement_figure
from sat_evaluation.figures.class_entropy import class_entropy_figure
from sat_evaluation.figures.class_entropy_data import class_transfer, difficulty_in_folder
from sat_evaluation.figures.defence import defence_figure
from sat_evaluation.figures.gain import gain_figure
from sat_evaluation.figures.overfitting import overfitting_figure
from sat_evaluation.results.headline import title
from sat_evaluation.results.rows import Row
from sat_evaluation.results.text import public_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENTROPY = "entropy"


def appendix_figures(rows: Sequence[Row], folder: RunFolder) -> Iterator[tuple[Path, Figure]]:
    """Draw those figures of the appendix for which a study has the arms, one after another.

    Args:
        rows: Its arms, as `sat_evaluation.results.rows.collect` returns them.
        folder: Of the study, with ranking, splits and flags. What is damaged there is left out.

    Yields:
        Path without the suffix of a format, and figure.

    Raises:
        NotInstalledError: matplotlib is missing.
    """
    drawings: tuple[tuple[Path, Callable[[], Figure | None]], ...] = (
        (folder.defence_plot, lambda: defence_figure(rows)),
        (folder.gain_plot, lambda: gain_figure(rows, folder)),
        (folder.class_entropy_plot, lambda: _class_entropy(rows, folder)),
        (folder.agreement_plot, lambda: _agreement(rows, folder)),
        (folder.overfitting_plot, lambda: overfitting_figure(rows)),
    )
    for path, draw in drawings:
        with suppress(DataError):
            figure = draw()
            if figure is not None:
                yield path, figure


def _class_entropy(rows: Sequence[Row], folder: RunFolder) -> Figure | None:
    if not folder.ranking.has_ranking:
        return None
    ranking = Ranking.read(folder.ranking)
    if ENTROPY not in ranking.scores:
        return None
    transfer = class_transfer(rows, difficulty_in_folder(folder, ranking, ENTROPY), ENTROPY)
    return transfer and class_entropy_figure(transfer, title(rows))


def _agreement(rows: Sequence[Row], folder: RunFolder) -> Figure | None:
    if not folder.ranking.has_ranking:
        return None
    ranking = Ranking.read(folder.ranking)
    names = dict.fromkeys(public_name(row.results.trained.data.name) for row in rows)
    return agreement_figure(ranking.agreement(), " / ".join(names)) if ranking.scores else None
