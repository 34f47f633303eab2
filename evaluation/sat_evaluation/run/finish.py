"""Units of work in a folder: run side by side with a live view, then summed up as table, CSV and plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sat_core import files
from sat_core.errors import Interrupted, NotInstalledError, RunDirectoryError
from sat_evaluation.figures.accuracy import accuracy_figure
from sat_evaluation.figures.canvas import save_figure
from sat_evaluation.figures.matrix import matrix_figure
from sat_evaluation.results.csv_file import write_csv
from sat_evaluation.results.rows import Row, collect
from sat_evaluation.run.executors.base import Executor, Outcome, Place, Unit
from sat_evaluation.run.executors.processes import log_end
from sat_evaluation.run.folder import PROGRESS, finished, unit_directory
from sat_evaluation.run.progress import LiveView


def work_through(out: Path, units: Sequence[Unit], executor: Executor, device: str) -> Outcome:
    """Run `units` in the folder `out` by `executor`, with a live view."""
    if not units:
        return Outcome()
    with files.locked(out), LiveView({u.name: unit_directory(out, u.name) / PROGRESS for u in units}) as view:
        files.sweep(out, below=False)  # each unit sweeps its own: it may run already, elsewhere
        seen: set[str] = set()

        def tick(outcome: Outcome, places: Mapping[str, Place]) -> None:
            for name in [n for n in (*outcome.done, *outcome.failed) if n not in seen]:
                seen.add(name)
                if name in outcome.failed:
                    view.fail(name, outcome.failed[name], log_end(out, name))
                else:
                    view.finish(name, "")
            view.refresh({name: place.where for name, place in places.items() if not place.running}, outcome.notice)

        return executor.run(out, units, device, tick)


def finish(out: Path, names: Sequence[str], outcome: Outcome) -> list[dict[str, Any]]:
    """Sum up the arms that are done, as CSV and plots; then say which are not. Returns their results."""
    paths = [path for name in names if (path := finished(out, name)).exists()]
    results = [files.read_json(path) for path in paths]
    rows = collect(results)
    try:
        if rows:
            _draw(out, rows)
    except RunDirectoryError:
        if not outcome.failed:  # as on a disk that is full, which is why arms failed
            raise
    if outcome.failed:
        first = [f"{name}: {reason}" for name, reason in outcome.failed.items()]
        more = f"\nand {len(first) - 2} more; " if len(first) > 2 else "\n"
        raise RunDirectoryError(
            "\n".join(first[:2]) + f"{more}once that is mended, the same command runs what is missing again"
        )
    if outcome.stopped:
        raise Interrupted(outcome.stopped)
    return results


def _draw(out: Path, rows: Sequence[Row]) -> None:
    write_csv(out / "summary.csv", rows)
    with suppress(NotInstalledError):  # what reports to the user says so
        save_figure(accuracy_figure(rows), out / "accuracy")
        save_figure(matrix_figure(rows), out / "matrix")
