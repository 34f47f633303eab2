"""The scores of a ranking that take a pass over all examples once its classifier is trained."""

from __future__ import annotations

import numpy as np

from sat_core.classifier import Classifier
from sat_core.difficulty import DIFFICULTIES
from sat_core.difficulty_kinds import ExtraPass, MeasuredDifficulty, checked
from sat_core.errors import Interrupted, SpecError, brief
from sat_core.files import EXPERIMENT
from sat_core.job import Job
from sat_core.leader import tell_model
from sat_core.process_group import Command
from sat_core.training import STOPPED

METADATA = ("places", "seed", "gradients", EXPERIMENT)
"""Arrays of a ranking's file that are no scores."""
STAGE = "ranking"
"""Stage of the training and of the passes after it: their seconds are the cost of the ranking."""


def _metric(name: str) -> MeasuredDifficulty:
    metric = DIFFICULTIES.get(name)
    if not isinstance(metric, MeasuredDifficulty):
        raise SpecError(f"ranking.extra: {name!r} needs no extra pass; take it out: it is always there")
    return metric


def try_extra(job: Job, classifier: Classifier) -> None:
    """Compute the extra scores of two examples, so that what cannot be computed is known before the training.

    Raises:
        SpecError: Names the score and the reason; or a score has the name of another array of a ranking's file.
    """
    for name in DIFFICULTIES.loaded():
        if name in METADATA:
            raise SpecError(f"difficulty {name!r}: the file of a ranking has another array of that name; rename it")
    two = job.data.train.take(np.arange(min(2, len(job.data.train))))
    for name in job.spec.ranking.extra:
        metric = _metric(name)
        try:
            checked(name, metric.measure(ExtraPass(classifier, two)), len(two))
        except Exception as error:  # a plug-in or the user's module may raise anything
            raise SpecError(
                f"ranking.extra: {name!r} cannot be computed ({brief(error)})\ntake it out of ranking.extra"
            ) from error


def extra_scores(job: Job, classifier: Classifier) -> dict[str, np.ndarray]:
    """Return the scores of ``ranking.extra``, float64 `(N,)` each. For rank 0, which leads the others.

    A stop in between leaves nothing: the next start finds the classifier trained, and begins with these anew.

    Raises:
        Interrupted: A stop was requested.
    """
    scores = {}
    with job.folder.timed(STAGE):
        for number, name in enumerate(job.spec.ranking.extra):
            tell_model(classifier, job.group)
            job.group.lead(Command.MEASURE, number)
            scores[name] = measured(job, classifier, name)
    return scores


def extra_gradients(job: Job) -> int:
    """Return the gradient evaluations of the extra scores, counted in examples."""
    return len(job.data.train) * sum(_metric(name).gradients for name in job.spec.ranking.extra)


def measured(job: Job, classifier: Classifier, name: str) -> np.ndarray:
    """Return a score of all examples; every rank of the job's group makes this call."""

    def proceed(share: float) -> None:
        job.progress(STAGE, share, 1.0, name)
        # Asked of all ranks: one that left alone would keep the others waiting for its parts.
        if job.group.greatest([int(job.stop())])[0]:
            raise Interrupted(STOPPED)

    data = job.data.train
    scores = checked(name, _metric(name).measure(ExtraPass(classifier, data, job.group, proceed)), len(data))
    job.progress(STAGE, 1.0, 1.0, name)
    return scores
