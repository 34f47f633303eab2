"""The report as one HTML file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, final
from urllib.parse import quote

import attrs

from sat_core import __version__
from sat_core.errors import NotInstalledError, RunDirectoryError
from sat_core.files import write_text
from sat_core.rundir import SPEC
from sat_evaluation.layout import run_folders
from sat_evaluation.report import charts
from sat_evaluation.report.bars import breakdown, class_charts, class_difficulty
from sat_evaluation.report.gallery import adversarial, extremes
from sat_evaluation.report.gather import Run, gather
from sat_evaluation.report.plots import over_cost, over_epochs, over_share
from sat_evaluation.report.reproduction import Drawn, drawn, only_rankings
from sat_evaluation.report.tables import Table, arms_table, numbers, provenance
from sat_evaluation.summary import shown

NAME = "report.html"
_FEW = 20
"""Warnings that are listed; of the others there is the number."""


@final
@attrs.frozen(kw_only=True)
class Section:
    """One run. charts, epochs, classes: what is drawn under "Results", "Training" and "Difficulty"."""

    anchor: str
    run: Run
    arms: Table
    charts: tuple[Any, ...]
    attacked: tuple[Any, ...]
    epochs: tuple[Any, ...]
    classes: tuple[Any, ...]
    extremes: tuple[Any, ...]
    adversarial: Any
    provenance: Table

    @property
    def warnings(self) -> list[str]:
        """The first of them, and how many there are besides."""
        found = self.run.warnings
        return found[:_FEW] + ([f"and {len(found) - _FEW} more"] if len(found) > _FEW else [])

    @property
    def open(self) -> tuple[list[Any], int]:
        """Units that are not finished and of which there is something to say, and how many others there are."""
        telling = [unit for unit in self.run.unfinished if unit.state != "waiting"][:_FEW]
        return telling, len(self.run.unfinished) - len(telling)


def write_report(paths: Sequence[Path], out: Path | None = None) -> Path:
    """Write the report of studies, transfers or reproductions side by side; returns its path.

    out: by default ``report.html`` in the one folder, or in the working directory for several. Raises
    RunDirectoryError or DataError if a folder is none of a run, NotInstalledError without Jinja2 or Pillow.
    """
    if out is None:
        out = paths[0] / NAME if len(paths) == 1 else Path(NAME)
    if out.is_dir():
        raise RunDirectoryError(f"--out: {out} is a folder; expected the name of a file, as {out / NAME}")
    runs = [gather(folder, name) for path in paths for folder, name in _folders(path)]
    figures = [figure for path in paths if not (path / SPEC).exists() for figure in drawn(path)]
    rows = [row for run in runs for row in run.rows]
    beside = over_share(rows, ("robust",), "Robust accuracy of all studies") if len(paths) > 1 else None
    write_text(out, _rendered([_section(n, run) for n, run in enumerate(runs)], figures, beside, paths))
    return out


def _folders(path: Path) -> Iterator[tuple[Path, str]]:
    """The folders of runs in `path` with what a reader calls them."""
    base = path.resolve()
    folders = run_folders(path)
    left_out = set() if (path / SPEC).exists() else only_rankings(path)
    for folder in (folder for folder in folders if folder not in left_out):
        inside = folder.resolve().relative_to(base).as_posix()
        yield folder, shown(base.name if inside == "." else f"{base.name}/{inside}", 80)


def _section(number: int, run: Run) -> Section:
    both = "Accuracy when only a part A of the training examples is attacked"
    found = [over_share(run.rows, ("robust", "clean"), both), *class_charts(run.rows), over_cost(run.rows)]
    ranking, data = run.ranking, run.data
    return Section(
        anchor=f"run-{number}",
        run=run,
        arms=arms_table(run),
        charts=tuple(chart for chart in found if chart is not None),
        attacked=(breakdown(run.results, run.rows),) if run.rows else (),
        epochs=tuple(over_epochs(run.results, run.rows)) if run.rows else (),
        classes=tuple(class_difficulty(ranking, data.train.labels, data.class_names)) if ranking and data else (),
        extremes=tuple(extremes(ranking, data)) if ranking and data else (),
        adversarial=adversarial(run.folder, run.rows) if run.rows else None,
        provenance=provenance(run),
    )


def _rendered(sections: list[Section], figures: list[Drawn], beside: Any, paths: Sequence[Path]) -> str:
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise NotInstalledError("sat report needs Jinja2: pip install 'sat-core[report]'") from error
    environment = Environment(
        loader=PackageLoader("sat_evaluation.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    source, _, _ = environment.loader.get_source(environment, "script.js")  # type: ignore[union-attr]
    script = f"\n{source}"
    kind = {charts.Plot: "plot", charts.Matrix: "matrix", charts.Bars: "bars"}
    return environment.get_template("report.html").render(
        title=", ".join(shown(path.resolve().name, 40) for path in paths),
        sections=sections,
        figures=figures,
        beside=beside,
        version=__version__,
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        kind=lambda chart: kind[type(chart)],
        numbers=numbers,
        link=lambda table: f"data:text/csv;charset=utf-8,{quote(table.csv)}",
        size=charts,
    )
