"""What a run is expected to take: before it starts, in its folder, and at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, final

import attrs

from sat_core import files
from sat_core.data import DataSet
from sat_core.errors import DataError, SatError, SpecError
from sat_core.job import Job
from sat_core.run_folder import RANKING, RunFolder
from sat_core.saved_data import PREFIX, dataset_of
from sat_core.study import Study
from sat_evaluation.plan.cache import KEPT, Taken, add_taken
from sat_evaluation.plan.facts import Facts, facts_of
from sat_evaluation.plan.history import taken_by
from sat_evaluation.plan.plan import Plan
from sat_evaluation.plan.sources import planning
from sat_evaluation.plan.units import ARM, HEAD, UnitWork, study_units
from sat_evaluation.plan.words import expected_words, source_lines, time_words
from sat_evaluation.plan.work import arm_work
from sat_evaluation.run.executors.base import Executor
from sat_evaluation.run.executors.local import Local
from sat_evaluation.run.view import View

ASKS_ABOVE = 24.0
"""Hours above which a run asks."""

Confirm = Callable[[str], bool]
"""Asks whether to go on, given what is expected in a line."""


def expected_passes(job: Job, size: int) -> float:
    """Estimate the time of an arm, in forward passes of one image: those of its training and of its evaluations.

    Args:
        job: Of the arm.
        size: |A|.

    Raises:
        SpecError: None of the attacks that evaluate the arm fits the data.
    """
    return arm_work(job.spec, loaded_facts(job.data), size).passes


def loaded_facts(data: DataSet) -> Facts:
    """Return the facts of a data set that is loaded."""
    return Facts(
        name=data.name,
        train=len(data.train),
        test=len(data.test),
        validation=len(data.validation) if data.validation else 0,
        classes=data.classes,
        image_shape=data.image_shape,
    )


@final
@attrs.frozen
class Expected:
    """What a run is expected to take.

    Attributes:
        all: The plan of the whole study, as it stands in ``plan.json``.
        left: That of what is not finished yet.
    """

    all: Plan
    left: Plan

    def ask(self, confirm: Confirm | None) -> None:
        """Ask if it takes long; SpecError if the answer is no."""
        hours = self.left.hours
        if confirm is not None and hours is not None and hours > ASKS_ABOVE:
            line = f"expected to take {expected_words(self.left)}"
            if not confirm(line):
                raise SpecError(f"not started: {line}\n--yes starts it without a question")

    def write(self, folder: RunFolder, target: str = "") -> None:
        """Save the plan in the folder of the run, or that of the transfer to `target`."""
        plan = self.all.heads(target) if target else self.all
        files.write_json(folder.plan_file, plan.to_json())


def expect(
    study: Study,
    folder: RunFolder,
    *,
    backend: str | None,
    device: str,
    executor: Executor,
    given: DataSet | None = None,
    only_ranking: bool = False,
) -> Expected | None:
    """Return what a study is expected to take here; None if it cannot be planned, for which its run has the reason."""
    try:
        units = study_units(study, _facts(study, folder, given), only_ranking=only_ranking)
        # of machines elsewhere nothing is known; other local executors are none
        local = executor if isinstance(executor, Local) else None
        jobs = len(local.slots(device, study.base.training.threads)) if local else executor.jobs or 1
        left: list[UnitWork] = []
        done: list[UnitWork] = []
        for unit in units:
            (done if is_finished(folder, unit) else left).append(unit)
        taken = _taken(folder, [unit.name for unit in done if unit.kind == ARM][-KEPT:])
        made = planning(backend=backend, device=device, jobs=jobs, here=local is not None, finished=taken)
        return Expected(made.units(units), made.units(left))
    except SatError:
        return None


def _facts(study: Study, folder: RunFolder, given: DataSet | None) -> Facts:
    name = study.base.data.name
    if given is None and name.startswith(PREFIX):
        given = dataset_of(name, folder)
    return facts_of(name) if given is None else loaded_facts(given)


def is_finished(folder: RunFolder, unit: UnitWork) -> bool:
    """Return whether a unit of a study is finished in its folder, which may not exist."""
    if unit.kind == RANKING:
        return folder.ranking.has_ranking
    return (folder.transfer(unit.target) if unit.kind == HEAD else folder).unit(unit.name).has_results


def announce(expected: Expected | None, view: View) -> None:
    """Say what the run is expected to take, and what that is from, if it is known."""
    if expected is not None and expected.left.units and expected.left.wall_seconds is not None:
        view.note(f"expected to take {expected_words(expected.left)}")
        for line in source_lines(expected.left):
            view.note(line)


def compared(expected: Expected | None, seconds: float) -> str:
    """Return in a line what a run was expected to take, and what it took; empty if it had nothing to do."""
    if expected is None or not expected.left.units:
        return ""
    known, took = expected.left.wall_seconds, f"took {time_words(seconds)}"
    if known is None:
        return f"{took}; nothing was known of this device before; `sat plan STUDY --measure` measures it"
    return f"expected {time_words(known)}, {took}"


def expected_seconds(folder: RunFolder, name: str) -> float | None:
    """Return the seconds that the plan in a run's folder expects of a unit; None if it does not say."""
    try:
        units: Any = files.read_json(folder.plan_file)["units"]
        for unit in units:
            if unit["name"] == name and unit["seconds"] is not None:
                return round(float(sum(unit["seconds"].values())), 3)
    except (DataError, OSError, KeyError, TypeError, ValueError):
        return None
    return None


def remember(folder: RunFolder, names: Iterable[str]) -> None:
    """Keep what finished arms took in the user's cache, for later plans on this machine."""
    add_taken(_taken(folder, names))


def _taken(folder: RunFolder, names: Iterable[str]) -> list[Taken]:
    """What finished arms took, of those whose results say it."""
    taken = []
    for name in names:
        if name != RANKING:
            with suppress(SatError):
                taken.append(taken_by(folder.unit(name).results()))
    return [each for each in taken if each is not None]
