"""The figures of the paper in a report, from the folder of `sat reproduce`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import final

import attrs

from sat_core.datasets import get_dataset
from sat_core.errors import DataError, SatError
from sat_core.ranking import Ranking
from sat_core.run_folder import ReproductionFolder
from sat_evaluation.figures.share_data import MEASURES, PublishedCurve
from sat_evaluation.paper import published
from sat_evaluation.paper.compare import Pair, caveats, compare
from sat_evaluation.paper.draw_appendix import SCORES, rankings_of, transfer_of_classes
from sat_evaluation.paper.experiments import PAPER_FIGURES
from sat_evaluation.paper.panels import Panel, PaperFigure
from sat_evaluation.paper.reproduction import Reproduction, reproductions, rows_folder
from sat_evaluation.report.appendix_plots import class_entropy_plot, defence_matrix, gain_plot, rankings_compared
from sat_evaluation.report.bars import class_charts, difficulty_charts
from sat_evaluation.report.blocks import Chart
from sat_evaluation.report.charts import Bars, Plot
from sat_evaluation.report.epoch_plots import over_watched_epochs
from sat_evaluation.report.gather import readable_rows
from sat_evaluation.report.share_plots import over_share
from sat_evaluation.report.table import Table
from sat_evaluation.results.headline import title
from sat_evaluation.results.rows import Row, together
from sat_evaluation.results.text import shown


@final
@attrs.frozen(kw_only=True)
class FigurePanel:
    """The charts and tables of one data set, or of one pair of source and target.

    measured: data, model, threat model and attacks.
    """

    title: str
    measured: str
    charts: tuple[Chart, ...]
    tables: tuple[Table, ...] = ()


@final
@attrs.frozen(kw_only=True)
class DrawnFigure:
    """A figure of the paper on the page.

    Attributes:
        reproduction: Its settings.
        title: One line.
        panels: What is finished of it.
        pairs: Our numbers beside the published ones.
        sources: Where the published numbers come from; empty if none are drawn.
        problem: Why it cannot be drawn, usually empty.
    """

    reproduction: Reproduction
    title: str
    panels: tuple[FigurePanel, ...] = ()
    pairs: tuple[Pair, ...] = ()
    sources: tuple[str, ...] = ()
    problem: str = ""

    @property
    def caveats(self) -> list[str]:
        """Which settings differ from those behind the published numbers."""
        return list(caveats(self.reproduction))


def drawn_figures(out: ReproductionFolder) -> Iterator[DrawnFigure]:
    """Draw the figures of a folder as far as they are finished."""
    try:
        pairs = {one.figure: tuple(figure_pairs) for one, figure_pairs in compare(out)}
    except DataError:  # nothing has been published on them
        pairs = {}
    for one in reproductions(out):
        with_published = one.protocol == "authors"  # numbers under another protocol cannot be compared
        try:
            figure = one.make()
            yield DrawnFigure(
                reproduction=one,
                title=figure.title,
                panels=tuple(_panels(figure, out, with_published=with_published)),
                pairs=pairs.get(one.figure, ()),
                sources=tuple(dict.fromkeys(_sources(figure))) if with_published else (),
            )
        except SatError as error:
            reason = shown("; ".join(str(error).splitlines()), 400)
            yield DrawnFigure(reproduction=one, title=PAPER_FIGURES[one.figure], problem=reason)


def _panels(figure: PaperFigure, out: ReproductionFolder, *, with_published: bool) -> Iterator[FigurePanel]:
    for (data, target), same_data in groupby(figure.panels, key=lambda panel: (panel.data, panel.target)):
        panels = list(same_data)
        drawn = [panel for panel in panels if not panel.ranking]
        rows = together(row for panel in drawn for row in _rows(panel, out))
        charts: tuple[Chart, ...]
        tables: Sequence[Table] = ()
        if figure.kind == "difficulty":
            charts = tuple(_difficulty(panels[0], out))
        elif figure.kind == "agreement":
            matrices, tables = rankings_compared(rankings_of(panels, out), SCORES, f"{panels[0].name}.csv")
            charts = tuple(matrices)
        elif figure.kind == "classes":
            charts = tuple(class_charts(rows, published.classes(figure.name, data) if with_published else None))
        else:
            numbers = published.curves(figure.name, data, target) if with_published else []
            own = [*_appendix(figure.kind, panels, rows, out), *_curves(panels, out, numbers)]
            charts = tuple(chart for chart in own if chart is not None)
        measured = title(rows) if rows else ""
        yield FigurePanel(title=panels[0].title, measured=measured, charts=charts, tables=tuple(tables))


def _appendix(
    kind: str, panels: Sequence[Panel], rows: Sequence[Row], out: ReproductionFolder
) -> Iterator[Chart | None]:
    """Draw what a figure of the appendix is about; of other figures nothing."""
    if not rows:
        return
    if kind == "gain":
        yield gain_plot(rows, rows_folder(panels[0], out))
    elif kind == "class-entropy":
        found = transfer_of_classes(panels, rows, out)
        yield found and class_entropy_plot(found[0], rows, found[1])
        yield from class_charts(rows)
    elif kind == "defence":
        yield defence_matrix(rows)
    elif kind == "overfitting":
        yield from over_watched_epochs(rows)


def _curves(panels: list[Panel], out: ReproductionFolder, numbers: list[PublishedCurve]) -> Iterator[Plot | None]:
    for measures, of_source in ((panels[0].of_source, True), (panels[0].measures, False)):
        rows = together(row for panel in panels for row in _rows(panel, out, source=of_source))
        for measure in measures:
            words = MEASURES[measure][0].upper() + MEASURES[measure][1:]
            data = panels[0].data if of_source else panels[0].target
            heading = f"{words}, on {data}" if data else words
            yield over_share(rows, (measure,), heading, [] if of_source else numbers)


def _rows(panel: Panel, out: ReproductionFolder, *, source: bool = False) -> list[Row]:
    """As `rows_of`, without arms that cannot be read: the section of their study says why."""
    folder = rows_folder(panel, out, source=source)
    return readable_rows(folder, [arm.name for arm in panel.study.arms], [])


def _difficulty(panel: Panel, out: ReproductionFolder) -> Iterator[Bars]:
    folder = out.study(panel.name).ranking
    if folder.has_ranking:
        data = get_dataset(panel.study.base.data.name)
        yield from difficulty_charts(Ranking.read(folder), data.train.labels, data.class_names)


def _sources(figure: PaperFigure) -> Iterator[str]:
    for panel in figure.panels:
        yield from (curve.source for curve in published.curves(figure.name, panel.data, panel.target))
        classes = published.classes(figure.name, panel.data)
        yield from (classes.source, classes.matrix_source) if classes else ()
