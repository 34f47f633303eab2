"""Run the studies of the paper's figures one after the other, then draw the figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sat_core.errors import Detached, NotInstalledError, RunDirectoryError, SatError
from sat_core.ranking import Ranking
from sat_core.run_folder import ReproductionFolder
from sat_evaluation.figures.canvas import save_figure
from sat_evaluation.paper.draw import class_figures, curves_figure, difficulty_figure
from sat_evaluation.paper.draw_appendix import KINDS, appendix_drawings
from sat_evaluation.paper.panels import Panel, PaperFigure
from sat_evaluation.paper.reproduction import Reproduction, rows_folder, rows_of
from sat_evaluation.results.headline import headline
from sat_evaluation.run.executors.base import Executor
from sat_evaluation.run.studies import run_study
from sat_evaluation.run.view import Silent, View

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def reproduce_all(
    reproductions: Sequence[Reproduction],
    out: ReproductionFolder,
    *,
    backend: str | None = None,
    device: str = "cpu",
    executor: Executor | None = None,
    reuse: Sequence[Path] = (),
    view: View | None = None,
) -> None:
    """Run the studies of figures in a folder and draw them. The same call goes on after a stop.

    Arms that are the same in several studies are run once. Arms that fail stop no others.

    Args:
        reproductions: The figures and their settings.
        out: Where to. It may have other figures already.
        backend: As for `run_study`, like all that follow.
        device: What computes.
        executor: Where arms run.
        reuse: Folders whose finished arms are taken over.
        view: Shows how it goes.

    Raises:
        SpecError: Something in the settings is wrong; nothing has been run.
        Interrupted: The run was stopped, or Detached: jobs have been submitted.
        RunDirectoryError: Arms failed; all else has been run and drawn.
    """
    # all are made before one is written: a wrong setting leaves the folder as it was
    figures = [one.make() for one in reproductions]
    for one in reproductions:
        one.write(out)
    options: dict[str, Any] = {"backend": backend, "device": device, "view": view or Silent()}
    if executor is not None and executor.submitting:
        _submit(figures, out, reuse, executor.submitting, options)
        # that is, if nobody is to wait for the jobs
        if executor == executor.submitting:
            raise Detached(
                f"{out}: jobs are in the queue; the same command waits for them, submits the others and draws"
            )
    failed = [error for figure in figures for error in _run(figure, out, reuse, {**options, "executor": executor})]
    if failed:
        more = f"\n({len(failed)} studies are not finished)" if len(failed) > 1 else ""
        raise RunDirectoryError(f"{failed[0]}{more}") from failed[0]


def _submit(
    figures: Sequence[PaperFigure], out: ReproductionFolder, reuse: Sequence[Path], executor: Executor, options: Any
) -> None:
    """Put the first study of each data set into the queue; others may share its arms, so they have to wait for it."""
    # reversed, as the last one of a key stays in a dictionary
    first = {panel.data: panel for panel in reversed([panel for figure in figures for panel in figure.panels])}
    for panel in first.values():
        with suppress(Detached, RunDirectoryError):  # the reason is reported when the study is run
            _run_study(panel, out, reuse, {**options, "executor": executor})


def _run_study(panel: Panel, out: ReproductionFolder, reuse: Sequence[Path], options: Mapping[str, Any]) -> None:
    folder = out.study(panel.name)
    others = [study.path for study in out.studies if study != folder]
    run_study(panel.study, folder.path, only_ranking=panel.ranking, reuse=[*reuse, *others], **options)


def _run(
    figure: PaperFigure, out: ReproductionFolder, reuse: Sequence[Path], options: Mapping[str, Any]
) -> list[SatError]:
    """Run the studies of a figure, draw it, and return why studies are not finished."""
    view: View = options["view"]
    failed: list[SatError] = []
    view.heading(f"{figure.name}: {figure.title}")
    for number, panel in enumerate(figure.panels, 1):
        view.say(f"study {number} of {len(figure.panels)}: {panel.name}")
        try:
            _run_study(panel, out, reuse, options)
        # arms that failed end no other study; a stop or a wrong setting ends them all
        except RunDirectoryError as error:
            failed.append(error)
    for line in _results(figure, out):
        view.say(line)
    return failed


def _results(figure: PaperFigure, out: ReproductionFolder) -> Iterator[str]:
    """Draw the figure; give the result of each panel and the names of the files, in lines."""
    for panel in figure.panels if figure.kind != "difficulty" else ():
        sentence = headline(rows_of(panel, out), rows_folder(panel, out))
        if sentence:
            yield f"{panel.title}: {sentence}"
    try:
        paths = save_figures(figure, out)
        yield f"{out}: {', '.join(path.name for path in paths) or 'nothing to draw yet'}"
    except NotInstalledError as error:
        yield f"no figure: {error}"


def save_figures(figure: PaperFigure, out: ReproductionFolder) -> list[Path]:
    """Write PNG and SVG of what `draw_figures` draws; returns their paths."""
    return [path for name, drawn in draw_figures(figure, out).items() for path in save_figure(drawn, out.drawing(name))]


def draw_figures(figure: PaperFigure, out: ReproductionFolder) -> dict[str, Figure]:
    """Draw a figure of the paper from the finished arms in `out`.

    Returns:
        Name of the file to matplotlib figure: one, or of Fig. 2 and the appendix one per data set. Empty if nothing
        is finished.

    Raises:
        NotInstalledError: matplotlib is missing.
    """
    if figure.kind in KINDS:
        return appendix_drawings(figure, out)
    if figure.kind == "difficulty":
        folders = [(panel, out.study(panel.name).ranking) for panel in figure.panels]
        rankings = {
            panel.data: (panel.study.base.data.name, Ranking.read(folder))
            for panel, folder in folders
            if folder.has_ranking
        }
        drawn = difficulty_figure(figure, rankings)
        return {} if drawn is None else {figure.name: drawn}
    both = {panel.name: (rows_of(panel, out), rows_of(panel, out, source=True)) for panel in figure.panels}
    rows = {name: target_and_source for name, target_and_source in both.items() if all(target_and_source)}
    if not rows:
        return {}
    if figure.kind == "classes":
        return class_figures(figure, rows)
    return {figure.name: curves_figure(figure, rows)}
