"""Measures the finished arms of a study or transfer, without training: `sat evaluate STUDY --grid` and the like."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sat_core import checkpoint
from sat_core.errors import RunDirectoryError
from sat_core.job import Job
from sat_core.process_group import ALONE, ProcessGroup
from sat_core.run_folder import RunFolder
from sat_evaluation.attack.rounds import by_rank_0
from sat_evaluation.run.levels import chosen_arms, jobs_of
from sat_evaluation.run.measures import NAMES, Measured, Measures, measure
from sat_evaluation.run.target import Target
from sat_evaluation.run.view import View


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

        def place(*words: str) -> Path:
            # Without more words: data and engine of an arm are always the same.
            return folder.measured_file("-".join(words if words[0] in NAMES else ["threat", *words]), "")

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
