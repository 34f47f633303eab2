"""Runs one unit, a ranking or an arm, in a process of its own: ``python -m sat_evaluation.run.worker``."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from typing import Any

from sat_core.arm import run_arm
from sat_core.backend import get_backend
from sat_core.datasets import get_dataset
from sat_core.errors import EXIT_CONTINUE, Interrupted, SatError, brief, printable
from sat_core.job import Job
from sat_core.ranking import Ranking, needs_ranking, run_ranking
from sat_core.run_folder import RANKING, TRANSFER, RunFolder
from sat_core.study import Arm, Study
from sat_evaluation.run.events import EventFile
from sat_evaluation.run.executors.base import TENSORBOARD
from sat_evaluation.run.executors.processes import DISK_FULL, EXIT_FULL, PARENT, WORKER_STOPS
from sat_evaluation.run.heads import Transfer
from sat_evaluation.run.output import standard_streams
from sat_evaluation.run.progress import ProgressFile


def run_unit(folder: RunFolder, name: str, save_every: float, tensorboard: bool = False) -> None:
    """Run one unit to its end, or until a signal of `WORKER_STOPS`, on which it saves and stops.

    Args:
        folder: Of the run.
        name: Of the unit.
        save_every: Seconds between saves within an epoch.
        tensorboard: Whether to write an event file.
    """
    stop = threading.Event()
    for number in WORKER_STOPS:
        signal.signal(number, lambda *_: stop.set())
    unit = folder.unit(name)
    # the worker of a study that was killed may hold it until it misses its parent
    with unit.locked(wait=10):
        unit.sweep()
        job = _make_job(
            folder,
            name,
            folder=unit,
            progress=ProgressFile(unit.progress_file),
            stop=stop.is_set,
            save_every=save_every,
            **({"scalars": EventFile(unit.events_file)} if tensorboard else {}),
        )
        if name == RANKING:
            run_ranking(job)
        else:
            run_arm(job, Ranking.read(folder.ranking) if needs_ranking(job.spec) else None)


def _make_job(run_folder: RunFolder, name: str, **options: Any) -> Job:
    tables, run = run_folder.read_spec()
    backend = get_backend(run["backend"], run["device"])
    if TRANSFER in tables:
        transfer = Transfer.read(run_folder)
        return transfer.job(name, transfer.data(), backend=backend, **options)
    study = Study.from_tables(tables)
    arm = Arm(RANKING, study.base) if name == RANKING else {arm.name: arm for arm in study.arms}[name]
    data = get_dataset(arm.spec.data.name)
    return Job(spec=arm.spec, full_name=arm.full, data=data, backend=backend, **options)


def end_with_parent() -> None:
    """End this process when its parent ends, so that killing a study ends its workers; what they saved is whole."""
    # The parent says who it is: if it has ended already, os.getppid() returns another process.
    parent = int(os.environ.get(PARENT) or os.getppid())

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(EXIT_CONTINUE)

    threading.Thread(target=watch, daemon=True).start()


def main() -> int:
    """Run the unit on the command line.

    Returns:
        Exit status. 0: done; 1 or 2: failed, the last line of stderr says why; EXIT_CONTINUE: stopped; EXIT_FULL.
    """
    out, unit, save_every, *more = sys.argv[1:]
    try:
        run_unit(RunFolder(out), unit, float(save_every), TENSORBOARD in more)
    except Interrupted:
        return EXIT_CONTINUE
    except Exception as error:
        if _disk_is_full(error):
            return EXIT_FULL
        if isinstance(error, SatError):
            # in one line: the last line of the log is the reason that the study shows
            sys.stderr.write("; ".join(str(error).splitlines()) + "\n")
            return 2
        traceback.print_exc()
        sys.stderr.write(f"{printable(brief(error))}\n")  # the last line is what the study shows
        return 1
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
    sys.exit(run())
