"""The chapters of a report on one run, each left out where the run has nothing for it."""

from __future__ import annotations

from collections.abc import Iterator

from sat_evaluation.figures.class_data import class_lists
from sat_evaluation.report.against import against
from sat_evaluation.report.appendix import appendix
from sat_evaluation.report.arms_table import arms_tables
from sat_evaluation.report.bars import breakdown, class_charts, difficulty_charts
from sat_evaluation.report.blocks import Chapter, Listing, Note, Settings, chapter, charts
from sat_evaluation.report.citations import citations
from sat_evaluation.report.class_tables import class_table
from sat_evaluation.report.confidence import corruptions, reliability
from sat_evaluation.report.cost_plots import over_cost
from sat_evaluation.report.differences import differences
from sat_evaluation.report.epoch_plots import over_epochs
from sat_evaluation.report.gallery import adversarial, extremes
from sat_evaluation.report.gather import Run
from sat_evaluation.report.law_plots import law_blocks
from sat_evaluation.report.methods import methods
from sat_evaluation.report.share_plots import over_share
from sat_evaluation.report.tables import agreement_table, provenance
from sat_evaluation.report.threats import threats
from sat_evaluation.results.conclusions import Conclusions
from sat_evaluation.results.law import curve_laws

_LISTS = 12
"""Arms whose classes are listed."""


def chapters(run: Run, found: Conclusions | None) -> Iterator[Chapter]:
    """Make the chapters of a run, in the order in which they are read.

    Args:
        run: As it was read.
        found: What the test images say of its arms; None without any.
    """
    if found:
        yield from _results(run, found)
    yield from _choice(run)
    if run.rows:
        yield from _trainings(run)
        yield from chapter("threats", "Other threats", charts(threats(run), reliability(run), corruptions(run)))
        yield from chapter("methods", "Methods and citations", *_methods(run))
    provenance_table = provenance(run) if run.rows else None
    settings = Settings(pairs=tuple(run.settings)) if run.settings else None
    whole = Listing(title="All settings (spec.toml)", text=run.spec, folded=True)
    yield from chapter("settings", "Settings and versions", settings, whole, provenance_table)


def _results(run: Run, found: Conclusions) -> Iterator[Chapter]:
    rows = run.rows
    title = "Accuracy when only a part A of the training examples is attacked"
    both = over_share(rows, ("robust", "clean"), title)
    yield from chapter("curves", "Curves", charts(both, *over_cost(rows)))
    yield from chapter("differences", "Differences between arms", *differences(run, found))
    yield from chapter("arms", "All arms", *arms_tables(run))
    yield from chapter("classes", "Class by class", charts(*class_charts(rows)), *_lists(run), class_table(run))
    yield from appendix(run)
    yield from chapter("images", "Images under attack", adversarial(run.folder, rows))
    yield from chapter("attacks", "What broke what", charts(breakdown(rows), against(run)))


def _lists(run: Run) -> Iterator[Note]:
    """The classes in A of each arm whose A is made of classes that no one has listed: those are names of the arms."""
    lines = class_lists([row for row in run.rows if row.strategy != "listed"])
    for line in lines[:_LISTS]:
        yield Note(text=line, small=True)
    if len(lines) > _LISTS:
        yield Note(text=f"And {len(lines) - _LISTS:,} more.", small=True)


def _choice(run: Run) -> Iterator[Chapter]:
    ranking, data = run.ranking, run.data
    pictures = extremes(ranking, data) if ranking and data else ()
    bars = difficulty_charts(ranking, data.train.labels, data.class_names) if ranking and data else ()
    scores = agreement_table(run.name, ranking) if ranking else None
    yield from chapter("choice", "How A was chosen", *pictures, charts(*bars), scores)


def _trainings(run: Run) -> Iterator[Chapter]:
    laws = curve_laws(run.rows, run.folder)
    yield from chapter("law", "The law of |A|", *law_blocks(laws, run.name.replace("/", "-")))
    yield from chapter("training", "Training", charts(*over_epochs(run.rows)))


def _methods(run: Run) -> Iterator[Note | Listing]:
    yield Listing(title="Methods, to copy and adapt", text=methods(run.rows), prose=True)
    yield Listing(title="BibTeX", text=citations(run.rows))
