"""What is known of one run: a study, or the heads on one. Read from its folder, whole or not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, final

import attrs

from sat_core.data import DataSet
from sat_core.datasets import get_dataset
from sat_core.errors import DataError, SatError
from sat_core.ranking import Ranking
from sat_core.run_folder import RANKING, TRANSFER, RunFolder
from sat_core.spec import DEFAULTS
from sat_core.tables import flatten
from sat_evaluation.report.valid import checked
from sat_evaluation.results.headline import headline, title
from sat_evaluation.results.rows import Row
from sat_evaluation.results.text import percent, shown
from sat_evaluation.run.status import UnitStatus, statuses, unit_names


@final
@attrs.frozen(kw_only=True, eq=False)
class Run:
    """name: of the folder, as the reader knows it. asked: keys without their default and their values, then the grids.

    spec: the text of spec.toml. unfinished: units without a result.

    results, rows: of the finished arms, in their order. ranking, data: None where they are not there. problems: what
    could not be read, and why.
    """

    folder: RunFolder
    name: str
    asked: list[tuple[str, str]]
    spec: str
    rows: list[Row]
    results: list[dict[str, Any]]
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
        best = max(self.rows, key=lambda row: row.robust.value)
        return headline(self.rows) or (
            f"The highest robust accuracy is {percent(best.robust.value, 1)} "
            f"[{100 * best.robust.low:.1f}, {100 * best.robust.high:.1f}], of {best.arm}, "
            f"at {percent(best.clean.value, 1)} clean accuracy."
        )

    @property
    def warnings(self) -> list[str]:
        """Of trainings and attacks, with the arm they are of."""
        found = ((r["arm"], text) for r in self.results for text in (*r.get("warnings", ()), *r["attacks"]["warnings"]))
        return [shown(f"{arm}: {text}", 400) for arm, text in found]


def gather(folder: RunFolder, name: str) -> Run:
    """Read the study or transfer in `folder`; what is broken in it is a problem. RunDirectoryError if it is none."""
    problems: list[str] = []
    names = unit_names(folder)
    unfinished = list(statuses(folder, [name for name in names if not folder.unit(name).is_finished]))
    found = list(readable(folder, names, problems))  # those too that were finished meanwhile
    unfinished = [unit for unit in unfinished if unit.name not in {row.arm for _, row in found}]
    ranking, data = _ranking(folder, problems)
    return Run(
        folder=folder,
        name=name,
        asked=list(_asked(folder.read_spec()[0])),
        spec=folder.spec_file.read_text(encoding="utf-8"),
        rows=[row for _, row in found],
        results=[result for result, _ in found],
        unfinished=unfinished,
        ranking=ranking,
        data=data,
        problems=problems,
    )


def readable(folder: RunFolder, names: Sequence[str], problems: list[str]) -> Iterator[tuple[dict[str, Any], Row]]:
    """The results of those arms in `folder` that are finished and whole; of others the reason goes to `problems`."""
    for name in names:
        unit = folder.unit(name)
        if name != RANKING and unit.has_results:
            try:
                result = unit.results()
                yield result, checked(result, name)
            except (DataError, LookupError, TypeError, AttributeError) as error:
                reason = error if isinstance(error, DataError) else f"expected another structure ({error!r})"
                problems.append(shown(f"{name}: {unit.results_file.name}: {'; '.join(str(reason).splitlines())}", 400))


def _ranking(folder: RunFolder, problems: list[str]) -> tuple[Ranking | None, DataSet | None]:
    """The ranking of a study and the images it is of; these only if they are still the same."""
    tables, about = folder.read_spec()
    if TRANSFER in tables or not folder.ranking.has_ranking:
        return None, None
    try:
        ranking = Ranking.read(folder.ranking)
        data = get_dataset(str(tables["data"]["name"]))
    except SatError as error:
        problems.append(shown(f"no images of the ranking: {'; '.join(str(error).splitlines())}", 400))
        return None, None
    if data.fingerprint() != about.get("data_fingerprint") or len(data.train) != len(ranking.scores["entropy"]):
        problems.append(f"no images of the ranking: those of {data.name} are others than when the study began")
        return None, None
    return ranking, data


def _asked(tables: dict[str, Any]) -> Iterator[tuple[str, str]]:
    grids = tables.get("grid", [])
    for key, value in flatten({name: table for name, table in tables.items() if name != "grid"}).items():
        if DEFAULTS.get(key) != value and value not in ("", []):
            yield key, shown(value, 120)
    for grid in grids if isinstance(grids, list) else [grids]:
        points = "; ".join(f"{key}: {', '.join(shown(v) for v in values)}" for key, values in grid.items())
        yield "grid", shown(points, 400)
