"""A whole study: checked before anything is trained, run side by side, summed up."""

from __future__ import annotations

import os
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import attrs
from rich.console import Console

from sat_core import files
from sat_core.arm import RESULTS
from sat_core.backend import get_backend
from sat_core.data import get_dataset
from sat_core.errors import Interrupted, NotInstalledError, RunDirectoryError, SatError
from sat_core.job import Job
from sat_core.ranking import FILE, needs_ranking, ranking_job
from sat_core.rundir import claim
from sat_core.spec import ModelSpec
from sat_core.study import Study
from sat_core.training import STOPPED
from sat_evaluation.engine import Outcome, Unit, run_units
from sat_evaluation.figures import accuracy_plot, matrix_plot
from sat_evaluation.packages import find_package
from sat_evaluation.progress import LiveView
from sat_evaluation.summary import collect, headline, write_csv
from sat_evaluation.table import print_table
from sat_evaluation.worker import ARMS, PROGRESS, RANKING, unit_directory


def run_study(
    study: Study,
    out: str | Path,
    *,
    backend: str | None = None,
    device: str = "cpu",
    jobs: int | None = None,
    save_every: float = 20.0,
) -> list[dict[str, Any]]:
    """Run every arm of `study` in the folder `out`; returns their results, in the order of the arms.

    jobs: arms at a time, by default as many as the processor has cores for. The same call goes on after a crash, and
    returns at once when all is done. Raises SatError before any training if something is wrong, Interrupted after a
    requested stop, and RunDirectoryError with the reasons if arms failed (the others are finished first).
    """
    out = Path(out)
    units = prepare(study, out, backend, device)
    if not units:
        return finish(study, out, Outcome())
    threads = study.base.training.threads
    jobs = jobs or (max(1, (os.cpu_count() or 1) // threads) if device == "cpu" else 1)
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

        outcome = run_units(out, units, jobs, save_every, tick)
    return finish(study, out, outcome)


def prepare(study: Study, out: Path, backend: str | None, device: str) -> list[Unit]:
    """Refuse here what can be refused; then `out` belongs to the study. Returns the work that is left."""
    data = get_dataset(study.base.data.name)
    computing = get_backend(backend, device)
    find_package()
    sizes = {}
    for arm in study.arms:
        job = Job(spec=arm.spec, data=data, backend=computing, directory=out)
        try:
            sizes[arm.name] = job.check()
        except SatError as error:
            raise type(error)(f"{arm.name}: {error}") if len(study.arms) > 1 else error from None
    for name in {arm.spec.model.name for arm in study.arms}:
        attrs.evolve(job, spec=attrs.evolve(job.spec, model=ModelSpec(name=name))).probe()
    if any(needs_ranking(arm.spec) for arm in study.arms):
        ranking_job(attrs.evolve(job, spec=study.base))
    claim(out, study.to_tables(), computing, data)
    arms = sorted(study.arms, key=lambda arm: -sizes[arm.name])  # the longest first, so that none is left for the end
    left = [arm for arm in arms if not (unit_directory(out, arm.name) / RESULTS).exists()]
    units = [Unit(arm.name, arm.spec.training.threads, needs_ranking(arm.spec)) for arm in left]
    if any(unit.after_ranking for unit in units) and not (unit_directory(out, RANKING) / FILE).exists():
        units.insert(0, Unit(RANKING, study.base.training.threads))
    return units


def report(results: list[dict[str, Any]], out: str | Path) -> None:
    """Print the table, the sentence that sums it up, warnings of the arms, and where the files are."""
    rows, console = collect(results), Console()
    print_table(rows, console)
    for line in filter(None, [headline(rows), *_warnings(results)]):
        console.print(line, markup=False, highlight=False)
    if find_spec("matplotlib") is None:
        console.print("no plots: they need matplotlib, pip install 'sat-core[report]'", markup=False, highlight=False)
    files_made = [path.name for path in sorted(Path(out).iterdir()) if path.suffix in (".csv", ".png", ".svg")]
    console.print(f"{out}: {', '.join(files_made)}; arms/*/results.json", markup=False, highlight=False)


def _warnings(results: list[dict[str, Any]]) -> list[str]:
    return [f"warning: {r['arm']}: {text}" for r in results for text in (*r["warnings"], *r["attacks"]["warnings"])]


def finish(study: Study, out: Path, outcome: Outcome) -> list[dict[str, Any]]:
    """Sum up the arms that are done, as table, CSV and plots; then say which are not."""
    done = [arm.name for arm in study.arms if (out / ARMS / arm.name / RESULTS).exists()]
    results = [files.read_json(out / ARMS / name / RESULTS) for name in done]
    if results:
        rows = collect(results)
        write_csv(out / "summary.csv", rows)
        with suppress(NotInstalledError):  # `report` says so
            accuracy_plot(rows, out / "accuracy")
            matrix_plot(rows, out / "matrix")
    if outcome.failed:
        first = [f"{name}: {reason}" for name, reason in outcome.failed.items()]
        more = f"\nand {len(first) - 2} more; " if len(first) > 2 else "\n"
        raise RunDirectoryError("\n".join(first[:2]) + more + "the same command runs what is missing again")
    if outcome.stopped:
        raise Interrupted(STOPPED)
    return results
