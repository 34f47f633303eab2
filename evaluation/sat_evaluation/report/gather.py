"""One run for a report: a study, or the heads on one, read from its folder as far as it is whole."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, final

import attrs

from sat_core.arm_results import ArmResults
from sat_core.data import DataSet
from sat_core.errors import DataError, SatError
from sat_core.ranking import Ranking
from sat_core.run_folder import RANKING, TRANSFER, RunFolder
from sat_core.saved_data import dataset_of
from sat_core.spec import DEFAULTS
from sat_core.tables import flatten
from sat_evaluation.report.words import arm_names, with_interval
from sat_evaluation.results.curves import group
from sat_evaluation.results.headline import headline, title
from sat_evaluation.results.rows import Row, collect
from sat_evaluation.results.text import percent, shown
from sat_evaluation.run.status import UnitStatus, statuses, unit_names

_FOLDERS = re.compile(r'(?<=[":])(?:~|\.{1,2})?/(?:[^/"\n]+/)+')
"""Folders of a path in quotes, or behind the kind of a data set: a page that is sent around must not have them."""


@final
@attrs.frozen(kw_only=True, eq=False)
class Run:
    """One run as the report shows it.

    Attributes:
        folder: Where it is.
        name: What the report calls it.
        settings: Keys that have not their default, with their values, then the grids.
        spec: The text of ``spec.toml``, without the folders of whoever ran it.
        rows: The finished arms, in their order.
        unfinished: Units without a result.
        ranking: Difficulty of the training examples; None if it is not there.
        data: The images of the ranking; None unless they are at hand, and still the same.
        problems: What could not be read, and why.
    """

    folder: RunFolder
    name: str
    settings: list[tuple[str, str]]
    spec: str
    rows: list[Row]
    unfinished: list[UnitStatus]
    ranking: Ranking | None
    data: DataSet | None
    problems: list[str]

    @property
    def title(self) -> str:
        """Data set, model, threat model and attacks; the name of the folder where nothing is finished."""
        return title(self.rows) if self.rows else self.name

    @property
    def headline(self) -> str:
        """The result in a sentence."""
        if not self.rows:
            return "No arm is finished."
        # by means: the best one of several seeds is good by chance, too
        best = max(group(self.rows), key=lambda g: g.accuracy("robust").value)
        seeds = len(best.rows)
        of = f"the mean of {seeds} seeds of {arm_names([best])[0]}" if seeds > 1 else f"of {best.rows[0].arm}"
        return headline(self.rows, self.folder) or (
            f"The highest robust accuracy is {with_interval(best.accuracy('robust'))}, {of}, "
            f"at {percent(best.accuracy('clean').value, 1)} clean accuracy ({best.rows[0].attacks})."
        )

    @property
    def warnings(self) -> list[str]:
        """Warnings of trainings and attacks, each with the name of its arm."""
        return [shown(f"{row.arm}: {text}", 400) for row in self.rows for text in row.full.all_warnings]


def gather(folder: RunFolder, name: str) -> Run:
    """Read the study or transfer in `folder`; what is damaged in it becomes a problem.

    Args:
        folder: Of a study or a transfer; RunDirectoryError if it is none.
        name: What the report calls it.
    """
    problems: list[str] = []
    names = unit_names(folder)
    unfinished = list(statuses(folder, [name for name in names if not folder.unit(name).is_finished]))
    rows = readable_rows(folder, names, problems)
    finished = {row.arm for row in rows}  # some may have been finished since their status was read
    ranking, data = _ranking(folder, problems)
    return Run(
        folder=folder,
        name=name,
        settings=list(_settings(folder.read_spec()[0])),
        spec=_FOLDERS.sub("", folder.spec_file.read_text(encoding="utf-8")),
        rows=rows,
        unfinished=[unit for unit in unfinished if unit.name not in finished],
        ranking=ranking,
        data=data,
        problems=problems,
    )


def readable_rows(folder: RunFolder, names: Sequence[str], problems: list[str]) -> list[Row]:
    """Return the finished arms among `names` whose results are whole; why others are not is added to `problems`."""
    return collect(_readable(folder, names, problems))


def _readable(folder: RunFolder, names: Sequence[str], problems: list[str]) -> Iterator[ArmResults]:
    for name in names:
        unit = folder.unit(name)
        if name != RANKING and unit.has_results:
            try:
                yield unit.own_results()
            except DataError as error:
                path = unit.results_file
                reason = "; ".join(str(error).replace(str(path), path.name).splitlines())
                problems.append(shown(f"{name}: {reason}", 400))


def _ranking(folder: RunFolder, problems: list[str]) -> tuple[Ranking | None, DataSet | None]:
    """The ranking of a study and the images it is of; these only if they are still the same."""
    tables, run = folder.read_spec()
    if TRANSFER in tables or not folder.ranking.has_ranking:
        return None, None
    try:
        ranking = Ranking.read(folder.ranking)
        data = dataset_of(str(tables["data"]["name"]), folder)
    except SatError as error:
        problems.append(shown(f"no images of the ranking: {'; '.join(str(error).splitlines())}", 400))
        return None, None
    if data.fingerprint() != run.get("data_fingerprint") or len(data.train) != len(ranking.scores["entropy"]):
        problems.append(f"no images of the ranking: those of {data.name} are others than when the study began")
        return None, None
    return ranking, data


def _settings(tables: dict[str, Any]) -> Iterator[tuple[str, str]]:
    grids = tables.get("grid", [])
    for key, value in flatten({name: table for name, table in tables.items() if name != "grid"}).items():
        if DEFAULTS.get(key) != value and value not in ("", []):
            yield key, shown(_FOLDERS.sub("", f'"{value}"')[1:-1] if isinstance(value, str) else value, 120)
    for grid in grids if isinstance(grids, list) else [grids]:
        points = "; ".join(f"{key}: {', '.join(shown(v) for v in values)}" for key, values in grid.items())
        yield "grid", shown(points, 400)
