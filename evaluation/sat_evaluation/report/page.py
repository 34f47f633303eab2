"""The report: one HTML file that needs no network, made of studies, transfers and reproductions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from sat_core.errors import RunDirectoryError, SatError
from sat_core.files import write_text
from sat_core.run_folder import ReproductionFolder, RunFolder, run_folders
from sat_evaluation.paper.reproduction import reproduced_studies
from sat_evaluation.report.gather import Run, gather
from sat_evaluation.report.paper_figures import DrawnFigure, drawn_figures
from sat_evaluation.report.render import render
from sat_evaluation.report.section import section
from sat_evaluation.report.share_plots import beside
from sat_evaluation.results.text import shown

NAME = "report.html"
"""Name of the file where the caller gives none."""
_BEGINNING = b"<!doctype html>"


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
    title = ", ".join(shown(path.resolve().name, 40) for path in paths)
    sections = [section(n, run) for n, run in enumerate(runs)]
    write_text(out, render(title=title, sections=sections, figures=figures, beside=several, problems=problems))
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
    for path, base in zip(paths, _names(paths), strict=True):
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


def _names(paths: Sequence[Path]) -> list[str]:
    """Return a name for each path: that of the folder, with as few folders above it as tell it from the others."""
    parts = [path.resolve().parts for path in paths]
    names = []
    for own in parts:
        others = Counter(parts) - Counter([own])
        long = next((n for n in range(1, len(own)) if all(each[-n:] != own[-n:] for each in others)), 1)
        names.append("/".join(own[-long:]))
    return names
