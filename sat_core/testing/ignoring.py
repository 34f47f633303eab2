"""What a backend does that ignores one option: it computes with other settings, or another plan, than it was given."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import attrs
import numpy as np

from sat_core.attack_spec import AttackSpec
from sat_core.epoch_plan import EpochPlan
from sat_core.loss_spec import PLAIN, LossSpec
from sat_core.training_spec import TrainingSpec


@final
@attrs.frozen
class Ignoring:
    """How a backend that ignores an option sees settings and plans.

    Attributes:
        option: In `sat_core.testing.options.OPTIONS`, which shows it.
        training, attack, loss, plan: What it sees in place of the right one.
    """

    option: str
    training: Callable[[TrainingSpec], TrainingSpec] = lambda training: training
    attack: Callable[[AttackSpec], AttackSpec] = lambda attack: attack
    loss: Callable[[LossSpec], LossSpec] = lambda loss: loss
    plan: Callable[[EpochPlan], EpochPlan] = lambda plan: plan


def _first_beta(plan: EpochPlan) -> EpochPlan:
    return attrs.evolve(plan, beta=None if plan.beta is None else np.full_like(plan.beta, 12.0))


IGNORED: dict[str, Ignoring] = {
    "labels not smoothed": Ignoring(
        "label smoothing and class weights", loss=lambda loss: attrs.evolve(loss, label_smoothing=0.0)
    ),
    "members have the cross-entropy": Ignoring("MART", loss=lambda _: PLAIN),
    "β does not change": Ignoring("TRADES", plan=_first_beta),
    "attack on the cross-entropy": Ignoring(
        "attack on the margin", attack=lambda attack: attrs.evolve(attack, loss="ce")
    ),
    "N-FGSM is projected": Ignoring("N-FGSM", attack=lambda attack: attrs.evolve(attack, kind="rs-fgsm")),
    "one replay": Ignoring("Free-AT", attack=lambda attack: attrs.evolve(attack, replays=1)),
    "the first restart counts": Ignoring("restarts", attack=lambda attack: attrs.evolve(attack, restarts=1)),
    "ε does not warm up": Ignoring("ε warm-up", plan=lambda plan: attrs.evolve(plan, strength=None)),
    "no average": Ignoring("EMA", plan=lambda plan: attrs.evolve(plan, decay=None)),
    "gradients not clipped": Ignoring("clipping", training=lambda t: attrs.evolve(t, clip_norm=0.0)),
    "statistics of the whole batch": Ignoring("micro-batches", training=lambda t: attrs.evolve(t, micro_batches=1)),
    "images not mixed": Ignoring(
        "mixup",
        training=lambda t: attrs.evolve(t, mixing="none"),
        plan=lambda plan: attrs.evolve(plan, mixes=None),
    ),
    "weights not perturbed": Ignoring("AWP", training=lambda t: attrs.evolve(t, awp=0.0)),
    "members by their place": Ignoring(
        "boundary of each batch", plan=lambda plan: attrs.evolve(plan, online=plan.online and "hardest")
    ),
}
"""By the fault's name."""
