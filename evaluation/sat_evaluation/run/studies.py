"""Runs a whole study or transfer: checks it, runs its arms side by side, and sums them up."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sat_core.arm_results import ArmResults
from sat_core.backend import Backend, device_number, get_backend
from sat_core.data import DataSet
from sat_core.own_data import Data, as_data_set
from sat_core.resolve import resolve
from sat_core.reuse import Finished
from sat_core.run_folder import RANKING, RunFolder
from sat_core.saved_data import as_saved
from sat_core.study import Study
from sat_evaluation.run.executors.base import Executor
from sat_evaluation.run.executors.local import Local
from sat_evaluation.run.executors.processes import torchrun
from sat_evaluation.run.expected import Confirm, Expected, announce, compared, expect
from sat_evaluation.run.finish import finish, run_units
from sat_evaluation.run.heads import Transfer, transfer_folders
from sat_evaluation.run.preflight import study_jobs
from sat_evaluation.run.prepare import prepare_study, prepare_transfer
from sat_evaluation.run.view import Silent, View


def run_study(
    study: Study,
    out: str | Path,
    *,
    data: Data | None = None,
    backend: str | None = None,
    device: str = "cpu",
    executor: Executor | None = None,
    reuse: Sequence[Path] = (),
    only_ranking: bool = False,
    view: View | None = None,
    confirm: Confirm | None = None,
    tell: Callable[[str], None] | None = None,
) -> list[ArmResults]:
    """Run every arm of a study, then its transfers. After an interruption, the same call continues.

    Args:
        study: What to run.
        out: Its folder; transfers are in ``transfer/TARGET`` below it.
        data: Takes the place of the study's data set, and is saved in the folder, where the same call or one without
            it continues. By default the study names its data.
        backend: Name of the backend; by default that of the environment variable SAT_BACKEND, else torch.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        executor: Where arms run; by default processes on this machine.
        reuse: Folders whose finished arms are taken over where they are the same.
        only_ranking: Stop after the ranking.
        view: Shows notes, warnings and progress; by default nothing is shown.
        confirm: Is asked before a run that is expected to take more than `ASKS_ABOVE` hours; by default nobody is.
        tell: Gets a line at the end: what was expected, and what it took.

    Returns:
        The results of the arms, in their order. If all are finished, nothing is run.

    Raises:
        SatError: Something is wrong; nothing has been trained.
        RunDirectoryError: Some arms failed; the message says why. The others are finished.
        Interrupted: A stop was requested; the state is saved.
        Detached: Jobs were only submitted to a queue.
    """
    folder, executor, view = RunFolder(Path(out)), executor or Local(), view or Silent()
    executor.check(folder)
    study, given = _with_data(study, data)
    computing = _get_backend(backend, device, executor)
    study = resolve(study, folder, computing, elsewhere=executor.elsewhere)
    options: dict[str, Any] = {"backend": backend, "device": device, "executor": executor}
    expecting = partial(expect, study, folder, **options, given=given, only_ranking=only_ranking)
    expected = expecting()
    if expected is not None:
        expected.ask(confirm)
    begin = time.monotonic()  # an answer may take its time
    units = prepare_study(study, folder, computing, reuse, view, executor.ranks, given)
    if reuse:
        expected = expecting()  # what was taken over is finished now
    if expected is not None:
        expected.write(folder)
    if only_ranking:
        units = [unit for unit in units if unit.name == RANKING]
    announce(expected, view)
    outcome = run_units(folder, units, executor, device, view)
    results = finish(folder, [] if only_ranking else [arm.name for arm in study.arms], outcome)
    options |= {"reuse": reuse, "view": view, "expected": expected}
    # heads need all arms: `finish` has raised if one failed or was stopped
    for target, heads in transfer_folders(study, folder).items():
        run_transfer(folder.path, target, heads.path, settings=study.head_settings, **options)
    if tell is not None and (line := compared(expected, time.monotonic() - begin)):
        tell(line)
    return results


def run_transfer(
    source: str | Path,
    target: str,
    out: str | Path,
    *,
    settings: Mapping[str, Any] | None = None,
    backend: str | None = None,
    device: str = "cpu",
    executor: Executor | None = None,
    reuse: Sequence[Path] = (),
    view: View | None = None,
    expected: Expected | None = None,
) -> list[ArmResults]:
    """Train and evaluate heads for another data set on the frozen features of finished runs; returns their results.

    Args:
        source: Folder of an arm, or of a study, all of whose arms are taken.
        target: Name of a data set.
        out: Folder of the transfer, with one folder per head as in that of a study.
        settings: Some of `sat_core.transfer.SETTINGS`.
        backend, device, executor, reuse, view: As in `run_study`, which raises the same errors.
        expected: What the study that the transfer belongs to is expected to take.
    """
    folder, executor, view = RunFolder(Path(out)), executor or Local(), view or Silent()
    transfer = Transfer(source=Path(source), target=target, settings=dict(settings or {}))
    executor.check(folder)
    units = prepare_transfer(transfer, folder, _get_backend(backend, device, executor), reuse, view, executor.ranks)
    if expected is not None:
        expected.write(folder, target)
    outcome = run_units(folder, units, executor, device, view)
    return finish(folder, list(transfer.sources()), outcome)


def check_study(
    study: Study,
    out: str | Path,
    *,
    backend: str | None,
    device: str,
    executor: Executor,
    reuse: Sequence[Path] = (),
    view: View | None = None,
) -> None:
    """Check a study as `run_study` does before any training, with the same errors and warnings. Writes nothing."""
    folder = RunFolder(Path(out))
    computing = _get_backend(backend, device, executor)
    study = resolve(study, folder, computing, elsewhere=executor.elsewhere)
    study_jobs(study, folder, computing, view or Silent(), executor.ranks)
    # only for its error: a folder that is not there
    Finished(reuse, besides=folder.path)


def study_commands(
    study: Study,
    out: str | Path,
    *,
    backend: str | None,
    device: str,
    executor: Executor,
    reuse: Sequence[Path] = (),
    view: View | None = None,
) -> list[str]:
    """Check a study and make its folder as `run_study` does, but start nothing.

    Returns:
        For each unit that is left a command that runs it, by torchrun on `executor.nodes` machines with
        `executor.devices` devices each. The ranking comes first: arms read it. Once all arms are finished, those of
        heads.
    """
    folder, view = RunFolder(Path(out)), view or Silent()
    computing = _get_backend(backend, device, executor, elsewhere=True)
    study = resolve(study, folder, computing, elsewhere=True)
    units = [(folder, unit) for unit in prepare_study(study, folder, computing, reuse, view, executor.ranks)]
    if not units:
        for target, heads in transfer_folders(study, folder).items():
            transfer = Transfer(source=folder.path, target=target, settings=dict(study.head_settings))
            left = prepare_transfer(transfer, heads, computing, reuse, view, executor.ranks)
            units += [(heads, unit) for unit in left]
    return [torchrun(executor, of, unit.name) for of, unit in units]


def _with_data(study: Study, data: Data | None) -> tuple[Study, DataSet | None]:
    """Return the study with the name of `data` as its data set, and `data` as they are saved; None for a name."""
    if data is None or isinstance(data, str):
        return (study if data is None else study.set({"data.name": data})), None
    given = as_saved(as_data_set(data), study.base.data.name)
    return study.set({"data.name": given.name}), given


def _get_backend(name: str | None, device: str, executor: Executor, elsewhere: bool = False) -> Backend:
    """Return the backend. Where other machines compute, this one checks on its CPU: it need not have their device."""
    # only for its error: the backend below may be made for another device
    device_number(device)
    if elsewhere:
        Executor.check_device(executor, device)  # not whether this machine has it
    else:
        executor.check_device(device)
    backend = get_backend(name, "cpu" if elsewhere or executor.elsewhere else device)
    # folders record the device that computes, not the one that checks
    backend.device = device
    return backend
