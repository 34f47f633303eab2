"""The report: one HTML file that needs no network, made of studies, transfers and reproductions."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, final
from urllib.parse import quote

import attrs

from sat_core import __version__
from sat_core.errors import NotInstalledError, RunDirectoryError, SatError, install, printable
from sat_core.files import write_text
from sat_core.run_folder import ReproductionFolder, RunFolder, run_folders
from sat_evaluation.paper.reproduction import reproduced_studies
from sat_evaluation.report import charts as chart_types
from sat_evaluation.report.bars import breakdown, class_charts, difficulty_charts
from sat_evaluation.report.charts import Plot
from sat_evaluation.report.cost_plots import over_cost
from sat_evaluation.report.epoch_plots import over_epochs
from sat_evaluation.report.gallery import adversarial, extremes
from sat_evaluation.report.gather import Run, gather
from sat_evaluation.report.paper_figures import DrawnFigure, drawn_figures
from sat_evaluation.report.share_plots import beside, over_share
from sat_evaluation.report.tables import Table, agreement_table, arms_table, numbers, provenance
from sat_evaluation.results.table import cost_unit
from sat_evaluation.results.text import shown

NAME = "report.html"
"""Name of the file where the caller gives none."""
_BEGINNING = b"<!doctype html>"
_LISTED = 20
"""Warnings and unfinished units that are listed; the others are counted."""


@final
@attrs.frozen(kw_only=True)
class Section:
    """One study or transfer on the page.

    Attributes:
        anchor: Id of the section, for links.
        run: What was read from its folder.
        arms: Table of the finished arms.
        charts: Charts under "Results".
        attacked: Charts under "AutoAttack".
        epochs: Charts under "Training".
        classes: Charts under "Difficulty".
        agreement: Table of how far the scores of the ranking agree, or None.
        extremes: Pictures of the hardest and the easiest training examples.
        adversarial: Pictures of adversarial examples, or None.
        provenance: Table of versions, seeds and data.
    """

    anchor: str
    run: Run
    arms: Table
    charts: tuple[Any, ...]
    attacked: tuple[Any, ...]
    epochs: tuple[Any, ...]
    classes: tuple[Any, ...]
    agreement: Table | None
    extremes: tuple[Any, ...]
    adversarial: Any
    provenance: Table

    @property
    def warnings(self) -> list[str]:
        """The first warnings, and a line that counts the others."""
        lines = self.run.warnings
        return lines[:_LISTED] + ([f"and {len(lines) - _LISTED} more"] if len(lines) > _LISTED else [])

    @property
    def unfinished(self) -> tuple[list[Any], int]:
        """Unfinished units that run, failed or stopped, and how many others there are."""
        listed = [unit for unit in self.run.unfinished if unit.state != "waiting"][:_LISTED]
        return listed, len(self.run.unfinished) - len(listed)


def write_report(paths: Sequence[Path], out: Path | None = None) -> Path:
    """Write a report of studies, transfers or reproductions; returns its path.

    Unfinished and damaged runs are shown as far as they can be read, with the reason.

    Args:
        paths: Folders of studies, transfers or `sat reproduce`. Several are shown side by side.
        out: The HTML file. By default ``report.html`` in the folder, or in the working directory if there are several.

    Raises:
        RunDirectoryError: A folder is none of these, or `out` exists and is no earlier report.
        DataError: None of the folders can be read.
        NotInstalledError: Jinja2 or Pillow is missing.
    """
    if out is None:
        out = paths[0] / NAME if len(paths) == 1 else Path(NAME)
    _check_target(out)
    problems: list[str] = []
    runs = list(_runs(paths, problems))
    figures: list[DrawnFigure] = []
    for path in [path for path in paths if not RunFolder(path).has_begun]:
        try:
            figures += drawn_figures(ReproductionFolder(path))
        except SatError as error:
            problems.append(shown("; ".join(str(error).splitlines()), 400))
    several = beside([(run.name, run.rows) for run in runs]) if len(paths) > 1 else None
    write_text(out, _rendered([_section(n, run) for n, run in enumerate(runs)], figures, several, paths, problems))
    return out


def _check_target(out: Path) -> None:
    """Raise RunDirectoryError if `out` exists and is no earlier report, so that nothing else is overwritten."""
    if out.is_dir():
        raise RunDirectoryError(f"--out: {out} is a folder; expected the name of a file, as {out / NAME}")
    if out.exists():
        with out.open("rb") as file:
            if not out.is_file() or file.read(len(_BEGINNING)) != _BEGINNING:
                raise RunDirectoryError(f"--out: {out} is there, and no report; choose another name, or remove it")


def _runs(paths: Sequence[Path], problems: list[str]) -> Iterator[Run]:
    """Read the runs in `paths`; what cannot be read goes to `problems`, or is raised if no run can."""
    errors: list[SatError] = []
    read = 0
    names = Counter(path.resolve().name for path in paths)
    for path in paths:
        base = path.name or path.resolve().name
        # folders of the same name are told apart by their paths
        base = base if names[path.resolve().name] == 1 else path.as_posix()
        folders = run_folders(path)
        for folder in folders:
            inside = folder.path.relative_to(path).as_posix()
            try:
                panel = None if RunFolder(path).has_begun else reproduced_studies(ReproductionFolder(path)).get(folder)
                if panel is not None and panel.ranking:
                    continue
                yield gather(folder, shown(base if inside == "." else f"{base}/{inside}", 80))
                read += 1
            except SatError as error:
                errors.append(error)
    if errors and not read:
        raise errors[0]
    problems += [shown("; ".join(str(error).splitlines()), 400) for error in errors]


def _section(number: int, run: Run) -> Section:
    title = "Accuracy when only a part A of the training examples is attacked"
    charts = [over_share(run.rows, ("robust", "clean"), title), *class_charts(run.rows), *over_cost(run.rows)]
    ranking, data = run.ranking, run.data
    return Section(
        anchor=f"run-{number}",
        run=run,
        arms=arms_table(run),
        charts=tuple(chart for chart in charts if chart is not None),
        attacked=(breakdown(run.rows),) if run.rows else (),
        epochs=tuple(over_epochs(run.rows)) if run.rows else (),
        classes=tuple(difficulty_charts(ranking, data.train.labels, data.class_names)) if ranking and data else (),
        agreement=agreement_table(run.name, ranking) if ranking else None,
        extremes=tuple(extremes(ranking, data)) if ranking and data else (),
        adversarial=adversarial(run.folder, run.rows) if run.rows else None,
        provenance=provenance(run),
    )


def _visible(value: Any) -> Any:
    """Escape control characters in text of the page. Jinja's Markup comes from our templates and stays as it is."""
    return printable(value, keep="\n\t") if type(value) is str else value


def _rendered(
    sections: list[Section],
    figures: list[DrawnFigure],
    several: Plot | None,
    paths: Sequence[Path],
    problems: list[str],
) -> str:
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise NotInstalledError(f"sat report needs Jinja2: {install('report')}") from error
    environment = Environment(
        loader=PackageLoader("sat_evaluation.report", "."),
        autoescape=True,  # names of data sets, classes and folders may be markup
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=_visible,
    )
    source, _, _ = environment.loader.get_source(environment, "script.js")  # type: ignore[union-attr]
    # as between the tags in report.html: the hash below covers every byte there
    script = f"\n{source}"
    kind = {chart_types.Plot: "plot", chart_types.Matrix: "matrix", chart_types.Bars: "bars"}
    return environment.get_template("report.html").render(
        title=", ".join(shown(path.resolve().name, 40) for path in paths),
        sections=sections,
        figures=figures,
        beside=several,
        problems=problems,
        version=__version__,
        script=script,
        # the page's policy runs the script with this hash and no other, whatever names from data sets contain
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        kind=lambda chart: kind[type(chart)],
        numbers=numbers,
        cost_unit=cost_unit,
        link=lambda table: f"data:text/csv;charset=utf-8,{quote(table.csv)}",
        size=chart_types,
    )
