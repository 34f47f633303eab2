"""The units of a run: run side by side, then summed up as CSV and plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from sat_core.arm_results import ArmResults
from sat_core.errors import Interrupted, NotInstalledError, RunDirectoryError, brief, printable
from sat_core.run_folder import RunFolder
from sat_core.trackers import TRACKERS
from sat_evaluation.figures.accuracy import accuracy_figure
from sat_evaluation.figures.appendix import appendix_figures
from sat_evaluation.figures.canvas import save_figure
from sat_evaluation.figures.law import MOST, law_figure
from sat_evaluation.figures.matrix import matrix_figure
from sat_evaluation.figures.pareto import pareto_figure
from sat_evaluation.results.csv_file import write_csv
from sat_evaluation.results.law import curve_laws
from sat_evaluation.results.rows import Row, collect
from sat_evaluation.run.executors.base import Executor, Outcome, Place, Unit
from sat_evaluation.run.expected import remember
from sat_evaluation.run.preflight import grouped
from sat_evaluation.run.view import View


def run_units(folder: RunFolder, units: Sequence[Unit], executor: Executor, device: str, view: View) -> Outcome:
    """Run `units` of `folder` by `executor`, shown in `view`."""
    if not units:
        return Outcome()
    if executor.ranks > 1:
        nodes = f" ({executor.nodes} nodes)" if executor.nodes > 1 else ""
        view.note(f"{executor.ranks} devices work on each network together{nodes}")
    _prepare_trackers(executor, view)
    # of two commands in one folder, each would start every unit
    with folder.locked(), view.units([folder.unit(unit.name) for unit in units]) as shown:
        folder.sweep()
        ended: set[str] = set()

        def tick(outcome: Outcome, places: Mapping[str, Place]) -> None:
            for name in [name for name in (*outcome.done, *outcome.failed) if name not in ended]:
                ended.add(name)
                if name in outcome.failed:
                    shown.fail(folder.unit(name), outcome.failed[name])
                else:
                    shown.finish(folder.unit(name))
            shown.refresh({name: place.where for name, place in places.items() if not place.running}, outcome.notice)

        outcome = executor.run(folder, units, device, tick)
    if not executor.elsewhere:
        remember(folder, outcome.done)
    _warn_of_trackers(folder, units, executor, view)
    return outcome


def _prepare_trackers(executor: Executor, view: View) -> None:
    for name in executor.trackers:
        try:
            TRACKERS.get(name).prepare()
        except Exception as error:  # those of a library of somebody else, which the units will meet again
            view.warn(f"warning: {name} is not ready: {printable(brief(error))}")


def _warn_of_trackers(folder: RunFolder, units: Sequence[Unit], executor: Executor, view: View) -> None:
    if executor.trackers:
        texts = [(unit.name, text) for unit in units for text in folder.unit(unit.name).tracker_warnings()]
        for line in grouped(texts, len(units)):
            view.warn(line)


def finish(folder: RunFolder, names: Sequence[str], outcome: Outcome) -> list[ArmResults]:
    """Sum up the finished ones of the arms `names`, as CSV and plots, and return their results.

    Raises:
        RunDirectoryError: Arms failed; it says why.
        Interrupted: The run was stopped.
    """
    # also after failures: what is finished can be seen while the rest is mended
    results = [unit.results() for name in names if (unit := folder.unit(name)).is_finished]
    rows = collect(results)
    try:
        if rows:
            _draw(folder, rows)
    except RunDirectoryError:
        if not outcome.failed:  # as on a disk that is full, which is why arms failed
            raise
    if outcome.failed:
        first = [f"{name}: {reason}" for name, reason in outcome.failed.items()]
        more = f"\nand {len(first) - 2} more; " if len(first) > 2 else "\n"
        raise RunDirectoryError(
            # two of them: a message has at most three lines (`sat_core.errors`)
            "\n".join(first[:2]) + f"{more}once that is mended, the same command runs what is missing again"
        )
    if outcome.stopped:
        raise Interrupted(outcome.stopped)
    return results


def _draw(folder: RunFolder, rows: Sequence[Row]) -> None:
    write_csv(folder.summary_file, rows)
    with suppress(NotInstalledError):  # a run needs no matplotlib; whoever shows its results says so
        save_figure(accuracy_figure(rows), folder.accuracy_plot)
        save_figure(matrix_figure(rows), folder.matrix_plot)
        save_figure(pareto_figure(rows), folder.pareto_plot)
        save_figure(law_figure(rows, curve_laws(rows, folder, most=MOST)), folder.law_plot)
        for path, figure in appendix_figures(rows, folder):
            save_figure(figure, path)
