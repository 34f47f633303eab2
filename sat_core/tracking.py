"""Tells trackers of a unit while it runs, and keeps the unit from whatever goes wrong with them."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, final

import attrs
import numpy as np

from sat_core.arm_results import ArmResults
from sat_core.errors import Interrupted, brief, printable
from sat_core.job import Job
from sat_core.ranking import ranking_job, ranking_tables
from sat_core.run_folder import RANKING
from sat_core.tables import flatten
from sat_core.trackers import TRACKERS, TrackedUnit, TrackerRun
from sat_core.version import VERSION


@contextmanager
def tracking(names: Sequence[str], job: Job, study: str) -> Iterator[Tracking]:
    """Track a unit inside: an error there ends its runs as failed, or as stopped where it is `Interrupted`.

    Args:
        names: Of trackers; none is possible.
        job: Of the unit.
        study: Its name.
    """
    tracked = Tracking(names, job, study)
    how = "failed"
    try:
        yield tracked
        how = "finished"
    except Interrupted:
        how = "stopped"
        raise
    finally:
        tracked.end(how)


def tracked_unit(job: Job, study: str) -> TrackedUnit:
    """Return what trackers are told of a unit."""
    name = job.folder.name
    params = flatten(ranking_tables(ranking_job(job)) if name == RANKING else job.spec.to_tables())
    computing = {"backend": job.backend.name, "device": job.backend.device, "data": job.data.name}
    tags = {"study": study, "arm": job.full_name or name, **computing, "sat-core": VERSION}
    return TrackedUnit(study=study, name=name, folder=job.folder, params=params, tags=tags)


@attrs.define
class _Kept:
    """What the folder of a unit keeps of a tracker, and its run in this process.

    Attributes:
        run_id, told: As in `TrackedUnit`.
        last: Highest epoch of each value that it was told of.
        warning: What went wrong with it when it was last called; else empty.
        run: None before the first call, and after an error.
        lost: Whether there was an error.
    """

    run_id: str = ""
    told: int = 0
    last: dict[str, int] = attrs.Factory(dict)
    warning: str = ""
    run: TrackerRun | None = None
    lost: bool = False

    @classmethod
    def of(cls, content: Any) -> _Kept:
        """Return what a file says; nothing is kept where it is damaged, and the tracker gets a new run."""
        table = content if isinstance(content, dict) else {}
        last, told = table.get("last"), table.get("told")
        last = last if isinstance(last, dict) else {}
        return cls(
            run_id=str(table.get("run", "")),
            told=told if type(told) is int else 0,
            last={str(name): epoch for name, epoch in last.items() if type(epoch) is int},
        )

    def table(self) -> dict[str, Any]:
        """Return what is written to the file: nothing of a tracker that needs nothing kept."""
        table = {"run": self.run_id, "told": self.told, "last": dict(self.last), "warning": self.warning}
        return table if any(table.values()) else {}


@final
class Tracking:
    """The trackers of one unit: the `sat_core.training.Scalars` of its job.

    A tracker's run begins with the first value: before it, the folder may turn out to be that of another experiment.

    Args:
        names: Of trackers, in `sat_core.trackers.TRACKERS`.
        job, study: Of the unit; the name of its study.
    """

    def __init__(self, names: Sequence[str], job: Job, study: str) -> None:
        self._job, self._study = job, study
        self._saved = job.folder.trackers() if names else {}
        self._trackers = {name: _Kept.of(self._saved.get(name)) for name in dict.fromkeys(names)}

    def __call__(self, epoch: int, values: Mapping[str, float]) -> None:
        """Tell the values of an epoch; what a tracker was told of before an interruption, it is not told again."""

        def log(kept: _Kept, run: TrackerRun) -> None:
            new = {n: v for n, v in values.items() if run.remembers or epoch > kept.last.get(n, 0)}
            if new:
                run.log(epoch, new)
                if not run.remembers:
                    kept.told += 1
                    kept.last |= dict.fromkeys(new, epoch)

        self._each(log)

    def finish(self, results: ArmResults | None = None) -> None:
        """Give the numbers and files of a finished arm; of a ranking, which has no results, only its files."""
        summary = summary_of(results) if results else {}
        self._each(lambda _, run: run.finish(summary, self._job.folder.outcome))

    def end(self, how: str) -> None:
        """Close the runs that have begun: they are ``finished``, ``stopped`` or ``failed``."""
        for name, kept in self._trackers.items():
            if kept.run is not None:
                self._guarded(name, kept, lambda _, run: run.end(how))
                kept.run = None
        self._keep()

    def _each(self, call: Callable[[_Kept, TrackerRun], None]) -> None:
        for name, kept in self._trackers.items():
            if not kept.lost:
                self._guarded(name, kept, call)
        self._keep()

    def _keep(self) -> None:
        tables = {name: kept.table() for name, kept in self._trackers.items()}
        content = {name: table for name, table in {**self._saved, **tables}.items() if table}
        if content != self._saved:
            self._job.folder.keep_trackers(content)
            self._saved = content

    def _guarded(self, name: str, kept: _Kept, call: Callable[[_Kept, TrackerRun], None]) -> None:
        # Trackers draw names from global generators, which a user's network may draw from, too.
        states = random.getstate(), np.random.get_state()
        try:
            if kept.run is None:
                kept.run = self._start(name, kept)
            call(kept, kept.run)
        # Libraries of others may raise anything, and some end the process where a login is missing.
        except (Exception, SystemExit) as error:
            kept.lost, kept.run = True, None
            kept.warning = f"{name} lacks what came after this error of its own: {printable(brief(error))}"
            sys.stderr.write(f"warning: {kept.warning}\n")
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])

    def _start(self, name: str, kept: _Kept) -> TrackerRun:
        unit = attrs.evolve(tracked_unit(self._job, self._study), run_id=kept.run_id, told=kept.told)
        run = TRACKERS.get(name).start(unit)
        kept.run_id = run.run_id
        return run


def summary_of(results: ArmResults) -> dict[str, float]:
    """Return the numbers of a finished arm by name: accuracies with their intervals, size, cost and seconds."""
    numbers: dict[str, float] = {}
    for name, accuracy in (("clean_accuracy", results.clean_accuracy), ("robust_accuracy", results.robust_accuracy)):
        numbers |= {name: accuracy.value, f"{name}_low": accuracy.low, f"{name}_high": accuracy.high}
    split, cost = results.trained.split, results.trained.cost
    return {
        **numbers,
        "n": results.robust_accuracy.n,
        "epoch": results.selection.epoch,
        "epochs": results.epochs,
        "size": split.size,
        "share": split.share,
        "attack_gradients": cost.attack_gradients,
        "training_gradients": cost.training_gradients,
        "ranking_gradients": cost.ranking_gradients,
        "full_at_gradients": cost.full_at_gradients,
        "seconds": results.cost.total_seconds,
    }
