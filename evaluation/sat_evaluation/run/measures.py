"""What `sat evaluate` measures besides robust accuracy at one threat model, and how it is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, final

import attrs
import numpy as np

from sat_core import checkpoint, files
from sat_core.errors import RunDirectoryError
from sat_core.evaluation import Evaluation
from sat_core.job import Job
from sat_core.process_group import ALONE, ProcessGroup
from sat_core.run_folder import RunFolder
from sat_core.threat_grid import Threat, ThreatGrid
from sat_core.threat_matrix import ThreatMatrix, evaluate_threats
from sat_evaluation.attack.rounds import by_rank_0
from sat_evaluation.run.levels import chosen_arms, jobs_of
from sat_evaluation.run.target import Target
from sat_evaluation.run.view import View

GRID = "grid"
"""Word for the file of a matrix of threat models."""


@final
@attrs.frozen(kw_only=True)
class Measures:
    """What is measured.

    Attributes:
        grid: Threat models for AutoAttack, or none.
        attacks: A level of evaluation, or names of attacks, for the grid.
    """

    grid: ThreatGrid | None = None
    attacks: str | tuple[str, ...] = "standard"

    @property
    def title(self) -> str:
        """The attacks as a word of a file's name."""
        return self.attacks if isinstance(self.attacks, str) else ",".join(self.attacks)


@final
@attrs.frozen(kw_only=True, eq=False)
class Measured:
    """What was measured of a network; None for what was not asked for."""

    grid: ThreatMatrix | None = None


def measure(target: Target, measures: Measures, view: View, stop: Callable[[], bool]) -> Measured:
    """Measure a network; all ranks make this call, and rank 0 writes the files.

    Args:
        target: The network, and the images.
        measures: What to measure.
        view: Shows how far it is.
        stop: Called at every query of an attack; True ends it.

    Raises:
        SatError: Something does not fit.
        Interrupted: A stop was requested; what is done is saved, and the same call goes on.
    """
    grid = measures.grid
    return Measured(grid=None if grid is None else _measure_grid(target, grid, measures, view, stop))


def _measure_grid(
    target: Target, grid: ThreatGrid, measures: Measures, view: View, stop: Callable[[], bool]
) -> ThreatMatrix:
    for threat in grid.threats:
        threat.check_images(target.data.image_shape, GRID)
    count = len(target.examples)

    def attack(threat: Threat, index: np.ndarray) -> Evaluation:
        # The images that smaller radii have left are another evaluation than all of them.
        left = [] if len(index) == count else [f"left-{len(index)}"]
        path = target.place(threat.norm, f"{threat.eps:g}", measures.title, *left)
        return target.attack(threat, index if left else slice(None), measures.attacks, path, view, stop)

    matrix = evaluate_threats(grid, count, attack)
    summary = matrix.summary(target.data.classes, target.in_a, target.experiment)
    _save(target, GRID, {**target.about, **summary.to_json()}, matrix.arrays())
    return matrix


def _save(target: Target, name: str, content: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    path = target.place(name)

    def save() -> None:
        files.write_npz(path.with_name(f"{path.name}.npz"), {**arrays, files.EXPERIMENT: np.array(target.experiment)})
        # Last, because its presence says that the other is whole.
        files.write_json(path.with_name(f"{path.name}.json"), content)

    by_rank_0(target.group, save)


def measure_study(
    folder: RunFolder,
    measures: Measures,
    arms: Sequence[str] = (),
    *,
    backend: str | None = None,
    device: str | None = None,
    view: View,
    group: ProcessGroup = ALONE,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Measured]:
    """Measure the picked epochs of finished arms, on the images that they reported; by the name of the arm.

    The results of the arms stay as they are: what is measured is kept beside their flags per image.

    Args:
        folder: Of a study or a transfer.
        measures: What to measure.
        arms: Names or patterns; by default all arms.
        backend, device: What computes; by default what trained.
        view: Shows how far each arm is.
        group: The ranks that work together; rank 0 writes the folder.
        stop: Called at every query of an attack; True ends it.

    Raises:
        SatError: Something does not fit, as in `sat_evaluation.run.levels.evaluate_study`.
        Interrupted: A stop was requested, or another rank has an error; what is done is saved.
    """
    _, chosen = chosen_arms(folder, arms)
    measured = {}
    with ExitStack() as stack:
        by_rank_0(group, lambda: stack.enter_context(folder.locked()))
        for job in jobs_of(folder, chosen, backend, device, group):
            with _target(job, group) as target:
                measured[job.folder.name] = measure(target, measures, view, stop)
    return measured


@contextmanager
def _target(job: Job, group: ProcessGroup) -> Iterator[Target]:
    """The picked epoch of a finished arm, and the images that it reported; inside, the backend is ready."""
    folder, spec = job.folder, job.spec
    with ExitStack() as stack:
        # The worker of a study that was killed may hold it until it misses its parent.
        by_rank_0(group, lambda: stack.enter_context(folder.locked(wait=10)))
        by_rank_0(group, folder.sweep)
        results = folder.own_results()
        if results.data.fingerprint != job.data.fingerprint():
            raise RunDirectoryError(
                f"{folder}: images or labels of {job.data.name} are others than when the arm was trained\n"
                "put the data back as they were"
            )
        checkpoint.read(folder.best_checkpoint).check(results.experiment)
        stack.enter_context(job.backend.session(spec.training))
        examples = job.examples("evaluation")

        def place(*words: str) -> Any:
            # The engine of an arm is always the same.
            path = folder.evaluation_file("-".join(["threat", *words]) if words[0] != GRID else GRID)
            return path.with_suffix("")

        yield Target(
            title=folder.name,
            backend=job.backend,
            classifier=job.load_best(),
            data=job.data,
            examples=examples,
            place=place,
            about={},
            experiment=results.experiment,
            in_a=results.split.mask_over(examples.labels),
            trained=spec.attack,
            engine=spec.evaluation.engine,
            group=group,
        )
