"""Chapters on what the paper's appendix has, of any run that has the arms for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from sat_core.errors import DataError
from sat_core.ranking import Ranking
from sat_evaluation.figures.class_entropy_data import ClassTransfer, class_transfer, difficulty_in_folder
from sat_evaluation.report.appendix_plots import class_entropy_plot, defence_matrix, defence_plot, gain_plot
from sat_evaluation.report.blocks import Chapter, Note, chapter, charts
from sat_evaluation.report.gather import Run

_ENTROPY = "entropy"


def appendix(run: Run) -> Iterator[Chapter]:
    """Make chapters on the defence rate, on the gain on B, and on what single classes bring to the others."""
    if drawn := charts(defence_plot(run.rows), defence_matrix(run.rows)):
        note = Note(text="Of the test images that are classified correctly as they are, how many are robust.")
        yield from chapter("defence", "Defence rate", note, drawn)
    if drawn := charts(gain_plot(run.rows, run.folder)):
        note = Note(
            text="What training without attacks on the classes of B costs there: robust accuracy on them, against full "
            "adversarial training on the same classes. Left of 0, attacking them, too, is better."
        )
        yield from chapter("gain", "Gain on B", note, drawn)
    transfer = None
    with suppress(DataError):  # what is damaged is said elsewhere
        transfer = _transfer(run)
    if transfer:
        note = Note(
            text="How robust the other classes become where one class alone is attacked, over the difficulty of that "
            f"class, for {len(transfer.points)} classes."
        )
        plot = class_entropy_plot(transfer, run.rows)
        yield from chapter("transfer", "Class transfer and difficulty", note, charts(plot))


def _transfer(run: Run) -> ClassTransfer | None:
    if not run.folder.ranking.has_ranking:
        return None
    ranking = run.ranking or Ranking.read(run.folder.ranking)
    return class_transfer(run.rows, difficulty_in_folder(run.folder, ranking, _ENTROPY), _ENTROPY)
