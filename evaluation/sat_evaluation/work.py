"""Units of work in a folder: run side by side with a live view, then summed up as table, CSV and plots."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sat_core import files
from sat_core.arm import RESULTS
from sat_core.errors import Interrupted, NotInstalledError, RunDirectoryError
from sat_core.training import STOPPED
from sat_evaluation.engine import Outcome, Unit, run_units
from sat_evaluation.figures import accuracy_plot
from sat_evaluation.layout import PROGRESS, unit_directory
from sat_evaluation.matrix import matrix_plot
from sat_evaluation.progress import LiveView
from sat_evaluation.summary import collect, write_csv


def work_through(out: Path, units: Sequence[Unit], jobs: int | None, device: str, save_every: float) -> Outcome:
    """Run `units` in the folder `out`, `jobs` at a time, by default as many as the processor has cores for."""
    if not units:
        return Outcome()
    jobs = jobs or (max(1, (os.cpu_count() or 1) // units[0].threads) if device == "cpu" else 1)
    with files.locked(out), LiveView({u.name: unit_directory(out, u.name) / PROGRESS for u in units}) as view:
        files.sweep(out)
        seen: set[str] = set()

        def tick(outcome: Outcome, _running: Any) -> None:
            for name in [n for n in (*outcome.done, *outcome.failed) if n not in seen]:
                seen.add(name)
                if name in outcome.failed:
                    view.fail(name, outcome.failed[name])
                else:
                    view.finish(name, "")
            view.refresh()

        return run_units(out, units, jobs, save_every, tick)


def finish(out: Path, names: Sequence[str], outcome: Outcome) -> list[dict[str, Any]]:
    """Sum up the arms that are done, as CSV and plots; then say which are not. Returns their results."""
    paths = [unit_directory(out, name) / RESULTS for name in names]
    results = [files.read_json(path) for path in paths if path.exists()]
    if results:
        rows = collect(results)
        write_csv(out / "summary.csv", rows)
        with suppress(NotInstalledError):  # what reports to the user says so
            accuracy_plot(rows, out / "accuracy")
            matrix_plot(rows, out / "matrix")
    if outcome.failed:
        first = [f"{name}: {reason}" for name, reason in outcome.failed.items()]
        more = f"\nand {len(first) - 2} more; " if len(first) > 2 else "\n"
        raise RunDirectoryError("\n".join(first[:2]) + more + "the same command runs what is missing again")
    if outcome.stopped:
        raise Interrupted(STOPPED)
    return results
