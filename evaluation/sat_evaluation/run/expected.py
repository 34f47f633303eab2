"""How long an arm is expected to take, from what is known before anything runs: the longest arms start first."""

from __future__ import annotations

from sat_core.check_epochs import check_epochs
from sat_core.job import Job
from sat_evaluation.attack.plan import plan, queries_and_price

_STEP, _ATTACK = 3, 2
"""Forward passes that one image costs: in a training step, and in each step of the attack. A backward pass to the
images costs as much as a forward pass, and one to the weights as much again."""


def expected_passes(job: Job, size: int) -> float:
    """Estimate the time of an arm, in forward passes of one image: those of its training and of its evaluations.

    Args:
        job: Of the arm.
        size: |A|.

    Raises:
        SpecError: None of the attacks that evaluate the arm fits the data.
    """
    spec, n = job.spec, len(job.data.train)
    share = size / n
    seen = spec.training.epochs * (n // spec.training.batch_size) * spec.training.batch_size
    training = seen * (spec.attack.replays * _STEP + share * spec.attack.passes * _ATTACK)
    _, picking, reporting = job.evaluation_split()
    checks = len(picking) * len(check_epochs(spec, n, head=job.source is not None))
    attacks = spec.evaluation
    evaluation = checks * _passes(job, attacks.selection_attacks) + len(reporting) * _passes(job, attacks.attacks)
    return training + expected_robust(share) * evaluation


def expected_robust(share: float) -> float:
    """Guess the robust accuracy with this share of the training examples in A, relative to that with all of them.

    An image that no attack breaks costs all queries of all attacks, a broken one next to none. The demo
    (examples/digits.toml) has 0.65, 0.83, 0.97, 0.99 and 1 for shares of 0, 0.1, 0.3, 0.5 and 1; the paper's CIFAR-10
    begins at 0. In both most of the gain comes with the first examples.

    >>> [round(expected_robust(share), 2) for share in (0, 0.1, 0.3, 0.5, 1)]
    [0.5, 0.66, 0.77, 0.85, 1.0]
    """
    return (1 + share**0.5) / 2


def _passes(job: Job, attacks: str | tuple[str, ...]) -> int:
    """Return the forward passes for one image that none of `attacks` breaks."""
    data, spec = job.data, job.spec
    planned, _ = plan(attacks, norm=spec.attack.norm, classes=data.classes, image_shape=data.image_shape)
    costs = (queries_and_price(settings, data.classes, spec.evaluation.engine) for settings in planned)
    return sum(queries * price for queries, price in costs)
