"""How long an arm is expected to take, in passes: the longest arms start first."""

from __future__ import annotations

from sat_core.data import DataSet
from sat_core.job import Job
from sat_evaluation.plan.facts import Facts
from sat_evaluation.plan.work import arm_work


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
