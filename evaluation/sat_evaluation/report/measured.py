"""What `sat evaluate` measured of arms later, read from their folders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from sat_core import files
from sat_core.errors import DataError
from sat_evaluation.report.gather import Run
from sat_evaluation.report.words import arm_names
from sat_evaluation.results.curves import group
from sat_evaluation.results.rows import Row

_MOST = 20
"""Arms of which it is drawn."""
Summary = TypeVar("Summary")


def measured(run: Run, name: str, read: Callable[[Any], Summary]) -> Iterator[tuple[str, Row, Summary]]:
    """Return name and row of the first arms that have a file, with what it says; of several seeds the first one.

    A file that is damaged, or of another training than the results of the arm, is left out.

    Args:
        run: With its arms.
        name: Of the file, as ``grid``.
        read: Makes an object of its content, or raises DataError.
    """
    groups = group(run.rows)
    found = 0
    for label, g in zip(arm_names(groups), groups, strict=True):
        for row in g.rows:
            path = run.folder.unit(row.arm).measured_file(name)
            if found == _MOST or not path.exists():
                continue
            try:
                summary = read(files.read_json(path))
            except DataError:
                continue
            if getattr(summary, "experiment", "") in ("", row.results.experiment):
                found += 1
                yield label, row, summary
                break
