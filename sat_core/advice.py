"""Warnings about settings that are valid, but probably not what is wanted."""

from __future__ import annotations

from sat_core.errors import shortened
from sat_core.schedules import parse_schedule
from sat_core.spec import Spec


def advice(spec: Spec, size: int, examples: int) -> list[str]:
    """Return warnings about settings, one line each, that begin with the key in question.

    Args:
        spec: The settings of an arm.
        size: |A| in examples.
        examples: N, the number of training examples.
    """
    subset, attack, training, evaluation = spec.subset, spec.attack, spec.training, spec.evaluation
    warnings = []
    if subset.strategy != "listed" and subset.size > 0 and size == 0:
        warnings.append(f"subset.size: {subset.size} of the {subset.kind} is less than one: A is empty, plain training")
    if subset.kind == "examples" and _is_one(subset.size):
        warnings.append("subset.size: 1 is one example, 1.0 all of them")
    if size and attack.eps == 0:
        warnings.append("attack.eps: with 0 no image is changed: this is plain training at the cost of the attack")
    reach = attack.steps * attack.step_size
    # A random start may lie at the edge of the ball already.
    if size and not attack.random_start and reach < attack.eps:
        warnings.append(f"attack.step_size: the steps add up to {reach:.4g}, which is less than eps = {attack.eps:.4g}")
    # Without a colon the user has named no drops that could be missed.
    per_epoch = max(1, examples // training.batch_size)
    if ":" in training.schedule and not parse_schedule(training.schedule).drop_epochs(training.epochs, per_epoch):
        drops = shortened(training.schedule)
        warnings.append(
            f"training.schedule: {drops} has no drop within {training.epochs} epochs; the rate stays the same"
        )
    late = [e for e in evaluation.selection_epochs if isinstance(e, int) and e > training.epochs]
    if late:
        warnings.append(f"evaluation.selection_epochs: {late[0]} is past the end, and stands for {training.epochs}")
    ones = [key for key in ("examples", "selection_share") if _is_one(getattr(evaluation, key))]
    return [*warnings, *(f"evaluation.{key}: 1 is one image; a share has a decimal point" for key in ones)]


def _is_one(size: int | float | str) -> bool:
    return isinstance(size, int) and size == 1
