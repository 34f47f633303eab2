"""Which figures a folder of `sat reproduce` is for, and the arms of their studies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import attrs

from sat_core import files
from sat_core.errors import DataError, RunDirectoryError
from sat_core.run_folder import ReproductionFolder, RunFolder
from sat_evaluation.paper.experiments import PAPER_FIGURES, paper_figure
from sat_evaluation.paper.panels import Panel, PaperFigure
from sat_evaluation.paper.scales import Flat
from sat_evaluation.results.rows import Row, collect
from sat_evaluation.run.heads import transfer_folders


@final
@attrs.frozen(kw_only=True)
class Reproduction:
    """A figure of the paper with the settings under which it is reproduced.

    Attributes:
        figure: Name of the figure, such as ``fig6``.
        scale: ``demo``, ``short`` or ``paper``.
        protocol: ``authors`` or ``paper``.
        data: Roles to data sets, as `sat_evaluation.paper.experiments.parse_data` returns them; empty for those of the
            scale.
        settings: Dotted keys that override those of the figure, in all of its studies.
    """

    figure: str
    scale: str
    protocol: str
    data: Mapping[str, str] = attrs.field(factory=dict)
    settings: Flat = attrs.field(factory=dict)

    def make(self) -> PaperFigure:
        """Return the figure with its studies; SpecError if something in the settings is wrong."""
        return paper_figure(self.figure, self.scale, self.protocol, self.data, self.settings)

    def write(self, out: ReproductionFolder) -> None:
        """Save the settings in `out`.

        Raises:
            RunDirectoryError: `out` has studies of the figure with other settings.
        """
        path = out.figure_file(self.figure)
        here = attrs.asdict(self)
        # settings may still change as long as nothing has been run with them
        begun = any(out.study(panel.name).exists for panel in self.make().panels)
        if begun and path.exists() and (there := _read_json(path)) != here:
            differing = [key for key in here if not isinstance(there, dict) or there.get(key) != here[key]]
            raise RunDirectoryError(
                f"{path}: the figure is there with another {' and '.join(differing)}\nchoose another folder"
            )
        files.write_json(path, here)


def reproductions(out: ReproductionFolder) -> list[Reproduction]:
    """Read the figures of a folder; RunDirectoryError if it has none."""
    written = [_read(path) for name in PAPER_FIGURES if (path := out.figure_file(name)).exists()]
    if not written:
        raise RunDirectoryError(f"{out}: expected the folder of a study or of `sat reproduce`, found neither in it")
    return written


def _read(path: Path) -> Reproduction:
    """Read what `Reproduction.write` wrote; RunDirectoryError names the file if it is something else."""
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


def reproduced_studies(out: ReproductionFolder) -> dict[RunFolder, Panel]:
    """Return the panels of all figures of a folder by the folders of their studies, which may not exist yet."""
    return {out.study(panel.name): panel for one in reproductions(out) for panel in one.make().panels}


def rows_of(panel: Panel, out: ReproductionFolder, *, source: bool = False) -> list[Row]:
    """Return the finished arms of a panel; arguments as in `rows_folder`."""
    folder = rows_folder(panel, out, source=source)
    return collect(unit.results() for arm in panel.study.arms if (unit := folder.unit(arm.name)).has_results)


def rows_folder(panel: Panel, out: ReproductionFolder, *, source: bool = False) -> RunFolder:
    """Return the folder with the arms of a panel.

    Args:
        panel: A panel of one of the figures in `out`.
        out: The folder of `sat reproduce`.
        source: Whether to take, of a transfer, the arms of its source in place of the heads on its target.
    """
    folder = out.study(panel.name)
    if panel.target and not source:
        # a panel has one target, see `PanelMaker.study`
        (folder,) = transfer_folders(panel.study, folder).values()
    return folder
