"""`sat reproduce`: the studies of a figure, run one after the other, then drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import attrs

from sat_core import files
from sat_core.errors import DataError, Detached, NotInstalledError, RunDirectoryError, SatError
from sat_core.ranking import Ranking
from sat_core.run_folder import ReproductionFolder, RunFolder
from sat_evaluation.figures.canvas import save_figure
from sat_evaluation.paper.experiments import PAPER_FIGURES, paper_figure
from sat_evaluation.paper.panels import Panel, PaperFigure
from sat_evaluation.paper.scales import Flat
from sat_evaluation.results.headline import headline
from sat_evaluation.results.rows import Row, collect
from sat_evaluation.run.executors.base import Executor
from sat_evaluation.run.heads import transfer_folders
from sat_evaluation.run.studies import run_study
from sat_evaluation.run.view import Silent, View

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@final
@attrs.frozen(kw_only=True)
class Reproduction:
    """A figure that was asked for in a folder. data: roles to data sets, empty for those of the scale."""

    figure: str
    scale: str
    protocol: str
    data: Mapping[str, str] = attrs.field(factory=dict)
    settings: Flat = attrs.field(factory=dict)

    def make(self) -> PaperFigure:
        """The figure with its studies; SpecError."""
        return paper_figure(self.figure, self.scale, self.protocol, self.data, self.settings)

    def write(self, out: ReproductionFolder) -> None:
        """Leave in `out` what was asked; RunDirectoryError if it has the figure with other settings."""
        path = out.figure_file(self.figure)
        asked = attrs.asdict(self)
        begun = any(out.study(panel.name).exists for panel in self.make().panels)
        if begun and path.exists() and (there := _read_json(path)) != asked:
            differing = [key for key in asked if not isinstance(there, dict) or there.get(key) != asked[key]]
            raise RunDirectoryError(
                f"{path}: the figure is there with another {' and '.join(differing)}\nchoose another folder"
            )
        files.write_json(path, asked)


def reproductions(out: ReproductionFolder) -> list[Reproduction]:
    """The figures that were asked for in `out`; RunDirectoryError if there are none."""
    found = [_read(path) for name in PAPER_FIGURES if (path := out.figure_file(name)).exists()]
    if not found:
        raise RunDirectoryError(f"{out}: expected the folder of `sat reproduce`, found no figure in it")
    return found


def _read(path: Path) -> Reproduction:
    """What `Reproduction.write` left; RunDirectoryError names the file if it is something else."""
    content = _read_json(path)
    kinds = {"figure": str, "scale": str, "protocol": str, "data": dict, "settings": dict}
    fits = isinstance(content, dict) and {key: type(value) for key, value in content.items()} == kinds
    if not fits or content["figure"] != path.stem:
        raise RunDirectoryError(
            f"{path}: expected what `sat reproduce` asked for; another version wrote it, or it was changed\n"
            "start the figure in a new folder"
        )
    return Reproduction(**content)


def _read_json(path: Path) -> Any:
    try:
        return files.read_json(path)
    except DataError as error:
        raise RunDirectoryError(f"{error}\ndelete {path} and start the figure again as it was asked for") from error


def asked_studies(out: ReproductionFolder) -> dict[RunFolder, Panel]:
    """The studies of the figures that were asked for in `out`, by their folders, which may not be there yet."""
    return {out.study(panel.name): panel for asked in reproductions(out) for panel in asked.make().panels}


def reproduce_all(
    asked: Sequence[Reproduction],
    out: ReproductionFolder,
    *,
    backend: str | None = None,
    device: str = "cpu",
    executor: Executor | None = None,
    reuse: Sequence[Path] = (),
    view: View | None = None,
) -> None:
    """Run the studies of figures in ``out/studies`` and draw them; arms that another study has finished are reused.

    Arguments as in `run_study`. Arms that fail take no others down: RunDirectoryError comes after all else is run and
    drawn. Raises SpecError before anything is run if something is wrong, Interrupted after a requested stop.
    """
    figures = [one.make() for one in asked]
    for one in asked:
        one.write(out)
    options: dict[str, Any] = {"backend": backend, "device": device, "view": view or Silent()}
    if executor is not None and executor.submitting:
        _submit(figures, out, reuse, executor.submitting, options)
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
    """Put studies into the queue before one is waited for: of each data set the first, whose arms others may share."""
    first = {panel.data: panel for panel in reversed([panel for figure in figures for panel in figure.panels])}
    for panel in first.values():
        with suppress(Detached, RunDirectoryError):  # why one is refused is told when it is run
            _run_study(panel, out, reuse, {**options, "executor": executor})


def _run_study(panel: Panel, out: ReproductionFolder, reuse: Sequence[Path], options: Mapping[str, Any]) -> None:
    folder = out.study(panel.name)
    others = [study.path for study in out.studies if study != folder]
    run_study(panel.study, folder.path, only_ranking=panel.ranking, reuse=[*reuse, *others], **options)


def _run(
    figure: PaperFigure, out: ReproductionFolder, reuse: Sequence[Path], options: Mapping[str, Any]
) -> list[SatError]:
    """Returns why studies are not finished."""
    view: View = options["view"]
    failed: list[SatError] = []
    view.heading(f"{figure.name}: {figure.title}")
    for number, panel in enumerate(figure.panels, 1):
        view.say(f"study {number} of {len(figure.panels)}: {panel.name}")
        try:
            _run_study(panel, out, reuse, options)
        except RunDirectoryError as error:
            failed.append(error)
    for line in _told(figure, out):
        view.say(line)
    return failed


def _told(figure: PaperFigure, out: ReproductionFolder) -> Iterator[str]:
    for panel in figure.panels if figure.kind != "difficulty" else ():
        sentence = headline(rows_of(panel, out))
        if sentence:
            yield f"{panel.title}: {sentence}"
    try:
        paths = draw(figure, out)
        yield f"{out}: {', '.join(path.name for path in paths) or 'nothing to draw yet'}"
    except NotInstalledError as error:
        yield f"no figure: {error}"


def draw(figure: PaperFigure, out: ReproductionFolder) -> list[Path]:
    """Write PNG and SVG of a figure from the finished arms in `out`; returns their paths. NotInstalledError."""
    return [path for name, drawn in figures_of(figure, out).items() for path in save_figure(drawn, out.drawing(name))]


def figures_of(figure: PaperFigure, out: ReproductionFolder) -> dict[str, Figure]:
    """Draw a figure of the paper from the finished arms in `out`.

    Returns:
        Name of the file to matplotlib figure: one, or of Fig. 2 one for each data set. Empty if nothing is finished.

    Raises:
        NotInstalledError: matplotlib is missing.
    """
    from sat_evaluation.paper import draw

    if figure.kind == "difficulty":
        folders = {panel.data: out.study(panel.name).ranking for panel in figure.panels}
        found = {role: Ranking.read(folder) for role, folder in folders.items() if folder.has_ranking}
        names = {p.data: p.study.base.data.name for p in figure.panels}
        drawn = draw.difficulty_figure(figure, {role: (names[role], ranking) for role, ranking in found.items()})
        return {} if drawn is None else {figure.name: drawn}
    rows = {panel.name: (rows_of(panel, out), rows_of(panel, out, source=True)) for panel in figure.panels}
    rows = {name: found for name, found in rows.items() if all(found)}
    if not rows:
        return {}
    return (
        draw.class_figures(figure, rows)
        if figure.kind == "classes"
        else {figure.name: draw.curves_figure(figure, rows)}
    )


def rows_of(panel: Panel, out: ReproductionFolder, *, source: bool = False) -> list[Row]:
    """The finished arms of a panel: heads on its target, if it has one; those of the study itself with `source`."""
    folder = rows_folder(panel, out, source=source)
    return collect(unit.results() for arm in panel.study.arms if (unit := folder.unit(arm.name)).has_results)


def rows_folder(panel: Panel, out: ReproductionFolder, *, source: bool = False) -> RunFolder:
    """Where these arms are."""
    folder = out.study(panel.name)
    if panel.target and not source:
        (folder,) = transfer_folders(panel.study, folder).values()
    return folder
