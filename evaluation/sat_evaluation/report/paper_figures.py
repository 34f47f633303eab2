"""The figures of the paper in a report, from the folder of `sat reproduce`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any, final

import attrs

from sat_core.datasets import get_dataset
from sat_core.errors import DataError, SatError
from sat_core.ranking import Ranking
from sat_core.run_folder import ReproductionFolder
from sat_evaluation.figures.share_data import MEASURES, PublishedCurve
from sat_evaluation.paper import published
from sat_evaluation.paper.compare import Pair, caveats, compare
from sat_evaluation.paper.experiments import PAPER_FIGURES
from sat_evaluation.paper.panels import Panel, PaperFigure
from sat_evaluation.paper.reproduction import Reproduction, reproductions, rows_folder
from sat_evaluation.report.bars import class_charts, difficulty_charts
from sat_evaluation.report.gather import readable_rows
from sat_evaluation.report.plots import over_share
from sat_evaluation.results.headline import title
from sat_evaluation.results.rows import Row
from sat_evaluation.results.text import shown


@final
@attrs.frozen(kw_only=True)
class Drawn:
    """A figure. panels: (data set or pair, what was measured, charts). pairs: ours beside theirs. problem: if any."""

    asked: Reproduction
    title: str
    panels: tuple[tuple[str, str, tuple[Any, ...]], ...]
    pairs: tuple[Pair, ...] = ()
    sources: tuple[str, ...] = ()
    problem: str = ""

    @property
    def caveats(self) -> list[str]:
        """Why ours and theirs may differ besides."""
        return list(caveats(self.asked))


def drawn(out: ReproductionFolder) -> Iterator[Drawn]:
    """The figures that were asked for in `out`, as far as they are finished."""
    try:
        pairs = {asked.figure: tuple(found) for asked, found in compare(out)}
    except DataError:  # nothing has been published on them
        pairs = {}
    for asked in reproductions(out):
        theirs = asked.protocol == "authors"
        try:
            figure = asked.make()
            panels = tuple(_panels(figure, out, theirs))
            sources = tuple(dict.fromkeys(_sources(figure))) if theirs else ()
            ours = pairs.get(asked.figure, ())
            yield Drawn(asked=asked, title=figure.title, panels=panels, pairs=ours, sources=sources)
        except SatError as error:
            reason = shown("; ".join(str(error).splitlines()), 400)
            yield Drawn(asked=asked, title=PAPER_FIGURES[asked.figure], panels=(), problem=reason)


def _panels(figure: PaperFigure, out: ReproductionFolder, theirs: bool) -> Iterator[tuple[str, str, tuple[Any, ...]]]:
    for (data, target), found in groupby(figure.panels, key=lambda panel: (panel.data, panel.target)):
        panels = list(found)
        if figure.kind == "difficulty":
            yield panels[0].title, "", tuple(_difficulty(panels[0], out))
            continue
        rows = [row for panel in panels for row in _rows(panel, out)]
        if figure.kind == "classes":
            charts = tuple(class_charts(rows, published.classes(figure.name, data) if theirs else None))
        else:
            curves = published.curves(figure.name, data, target) if theirs else []
            charts = tuple(chart for chart in _curves(panels, out, curves) if chart is not None)
        yield panels[0].title, title(rows) if rows else "", charts


def _curves(panels: list[Panel], out: ReproductionFolder, theirs: list[PublishedCurve]) -> Iterator[Any]:
    for measures, of_source in ((panels[0].of_source, True), (panels[0].measures, False)):
        rows = [row for panel in panels for row in _rows(panel, out, source=of_source)]
        for measure in measures:
            words = MEASURES[measure][0].upper() + MEASURES[measure][1:]
            on = panels[0].data if of_source else panels[0].target
            yield over_share(rows, (measure,), f"{words}, on {on}" if on else words, [] if of_source else theirs)


def _rows(panel: Panel, out: ReproductionFolder, *, source: bool = False) -> list[Row]:
    """As `rows_of`, without those that cannot be read, of which the section of their study tells."""
    folder = rows_folder(panel, out, source=source)
    return list(readable_rows(folder, [arm.name for arm in panel.study.arms], []))


def _difficulty(panel: Panel, out: ReproductionFolder) -> Iterator[Any]:
    folder = out.study(panel.name).ranking
    if folder.has_ranking:
        data = get_dataset(panel.study.base.data.name)
        yield from difficulty_charts(Ranking.read(folder), data.train.labels, data.class_names)


def _sources(figure: PaperFigure) -> Iterator[str]:
    for panel in figure.panels:
        yield from (curve.source for curve in published.curves(figure.name, panel.data, panel.target))
        classes = published.classes(figure.name, panel.data)
        yield from [classes.source] if classes else []
