"""Runs one unit, a ranking or an arm, in a process of its own: ``python -m sat_evaluation.run.worker``.

Started by torchrun, it is one of several ranks, each with a device of its own, that run the unit together.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from sat_core.arm import run_arm
from sat_core.backend import Backend, get_backend
from sat_core.datasets import load_once
from sat_core.errors import EXIT_CONTINUE, Interrupted, SatError, SpecError, brief, printable
from sat_core.follower import follow
from sat_core.job import Job
from sat_core.leader import leading
from sat_core.process_group import ProcessGroup
from sat_core.ranking import Ranking, needs_ranking, ranking_job, run_ranking
from sat_core.run_folder import RANKING, TRANSFER, RunFolder
from sat_core.saved_data import dataset_of
from sat_core.study import Arm, Study
from sat_core.tracking import tracking
from sat_evaluation.run.cards import GPU_MEMORY, take_card
from sat_evaluation.run.executors.processes import DISK_FULL, EXIT_FULL, EXIT_PEER, WORKER_STOPS
from sat_evaluation.run.expected import expected_seconds
from sat_evaluation.run.heads import Transfer
from sat_evaluation.run.output import standard_streams
from sat_evaluation.run.parent import STOP_FILE, end_with_parent
from sat_evaluation.run.progress import ProgressFile
from sat_evaluation.run.ranks import PeerLost, explain_end, is_rank, join_group


def run_unit(folder: RunFolder, name: str, save_every: float, trackers: Sequence[str] = ()) -> None:
    """Run one unit to its end, or until a signal of `WORKER_STOPS`, on which it saves and stops.

    Args:
        folder: Of the run.
        name: Of the unit.
        save_every: Seconds between saves within an epoch.
        trackers: Names of those that are told of it.
    """
    backend, group = _join(folder)
    # Only now: a rank that waits for one that never comes can do nothing about a signal, and has nothing to save.
    stop = threading.Event()
    # Ctrl-C reaches ranks that a terminal's torchrun has started; all others hear of it from who has started them.
    interrupted = (signal.SIGINT,) if is_rank() and STOP_FILE not in os.environ else ()
    for number in (*WORKER_STOPS, *interrupted):
        signal.signal(number, lambda *_: stop.set())
    unit = folder.unit(name)
    options: dict[str, Any] = {"backend": backend, "group": group, "folder": unit}
    options |= {"stop": stop.is_set, "save_every": save_every}
    if group.rank > 0:
        _follow(_make_job(folder, name, **options), folder)
        return
    # the worker of a study that was killed may hold it until it misses its parent
    with unit.locked(wait=10), leading(group):
        unit.sweep()
        job = _make_job(folder, name, progress=ProgressFile(unit.progress_file), **options)
        with tracking(trackers, job, folder.title) as tracked:
            job = attrs.evolve(job, scalars=tracked, expected_seconds=expected_seconds(folder, name))
            if name == RANKING:
                run_ranking(job)
                tracked.finish()
            else:
                tracked.finish(run_arm(job, Ranking.read(folder.ranking) if needs_ranking(job.spec) else None))


def _join(folder: RunFolder) -> tuple[Backend, ProcessGroup]:
    """Return the backend of the run, as a rank of the group that this process was started in, and the group."""
    _, run = folder.read_spec()
    if is_rank() and run["device"] != "cpu":
        take_card()
    backend, group = get_backend(run["backend"], run["device"]), join_group(run["backend"], run["device"])
    if GPU_MEMORY in os.environ:
        backend.limit_memory(int(os.environ[GPU_MEMORY]))
    backend.join(group)
    return backend, group


def _follow(job: Job, run_folder: RunFolder) -> None:
    if job.folder.name == RANKING:
        job = ranking_job(job)
        follow(job, job.no_members())
    else:
        # as `run_arm` does it on rank 0
        ranking = Ranking.read(run_folder.ranking) if needs_ranking(job.spec) else Ranking(order=job.published_order())
        follow(job, ranking.split(job))


def _make_job(run_folder: RunFolder, name: str, *, group: ProcessGroup, **options: Any) -> Job:
    tables, _ = run_folder.read_spec()
    if TRANSFER in tables:
        transfer = Transfer.read(run_folder)
        return transfer.job(name, load_once(transfer.data, group), group=group, **options)
    study = Study.from_tables(tables)
    arm = Arm(RANKING, study.base) if name == RANKING else {arm.name: arm for arm in study.arms}[name]
    data = load_once(lambda: dataset_of(arm.spec.data.name, run_folder), group)
    return Job(spec=arm.spec, full_name=arm.full, data=data, group=group, **options)


def main() -> int:
    """Run the unit on the command line.

    Returns:
        Exit status. 0: done; 1 or 2: failed, the last line of stderr says why; EXIT_CONTINUE: stopped; EXIT_FULL; of
        a rank also EXIT_PEER.
    """
    out, unit, save_every, *trackers = sys.argv[1:]
    try:
        run_unit(RunFolder(out), unit, float(save_every), trackers)
    except Interrupted:
        return EXIT_CONTINUE
    except Exception as error:
        if _disk_is_full(error):
            return EXIT_FULL
        ours = isinstance(error, SatError)
        if not ours or (isinstance(error, SpecError) and error.__cause__):  # as of a plug-in's function
            traceback.print_exc()
        # in one line: the last line of the log is the reason that the study shows
        reason = "; ".join(str(error).splitlines()) if ours else printable(brief(error))
        sys.stderr.write(f"{reason}\n")
        if is_rank():
            # a framework's error may be that another rank has ended; ours never are
            explain_end(reason, echo=not ours)
        return EXIT_PEER if isinstance(error, PeerLost) else 2 if ours else 1
    return 0


def _disk_is_full(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            return True
        # our errors, and those of frameworks, are raised while that of the system is handled
        error = error.__cause__ or error.__context__
    return False


def run() -> int:
    """Be the process of the unit on the command line; returns the exit status of `main`."""
    end_with_parent()
    with standard_streams():  # no output of a user's model can end a training, whatever its encoding
        return main()


def run_request(request: Mapping[str, Any], log: int) -> int:
    """Be the process of the unit in a request; returns the exit status of `main`.

    Args:
        request: `arguments` as on the command line, and `environment`, which is added to that of this process.
        log: Descriptor that standard output and error go to.
    """
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)
    os.environ |= request["environment"]
    sys.argv[1:] = request["arguments"]
    return run()


if __name__ == "__main__":
    status = run()
    if status and is_rank():
        # what libraries do at exit may wait for ranks that have gone, or end this process by a signal
        os._exit(status)
    sys.exit(status)
