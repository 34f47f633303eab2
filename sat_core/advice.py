"""Warnings about settings that are valid, but probably not what is wanted."""

from __future__ import annotations

from sat_core.averaging import parse_averaging
from sat_core.check_epochs import check_epochs
from sat_core.errors import shortened
from sat_core.schedules import parse_length, parse_schedule
from sat_core.spec import Spec
from sat_core.training_spec import TrainingSpec


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
    per_epoch = max(1, examples // training.batch_size)
    warnings += _of_the_rate(training, per_epoch)
    if size and parse_length(attack.warmup).steps(per_epoch) >= training.epochs * per_epoch:
        warnings.append(f"attack.warmup: ε is not reached before the last step of {training.epochs} epochs")
    if size and spec.loss.kind == "trades" and spec.loss.betas == (0, 0):
        warnings.append("loss.beta: with 0 adversarial examples are made, and have no part in the loss")
    if 0 < training.epochs <= subset.rerank:
        warnings.append(f"subset.rerank: A is never chosen anew within {training.epochs} epochs")
    # The first check counts as an improvement.
    checks = len(check_epochs(spec, examples))
    if training.patience and training.patience + 1 >= checks:
        warnings.append(
            f"training.patience: {training.patience} checks without an improvement cannot come before the last of "
            f"{checks}; list more evaluation.selection_epochs"
        )
    late = [e for e in evaluation.selection_epochs if isinstance(e, int) and e > training.epochs]
    if late:
        warnings.append(f"evaluation.selection_epochs: {late[0]} is past the end, and stands for {training.epochs}")
    ones = [key for key in ("examples", "selection_share") if _is_one(getattr(evaluation, key))]
    return [*warnings, *(f"evaluation.{key}: 1 is one image; a share has a decimal point" for key in ones)]


def _of_the_rate(training: TrainingSpec, per_epoch: int) -> list[str]:
    schedule, epochs, warnings = parse_schedule(training.schedule), training.epochs, []
    drops, rise = schedule.drop_steps(epochs, per_epoch), parse_length(training.warmup).steps(per_epoch)
    # Without a colon the user has named no drops that could be missed.
    if ":" in training.schedule and not drops:
        name = shortened(training.schedule)
        warnings.append(f"training.schedule: {name} has no drop within {epochs} epochs; the rate stays the same")
    if rise >= epochs * per_epoch:
        warnings.append(f"training.warmup: the rate rises until the last step of {epochs} epochs")
    elif drops and rise > drops[0]:
        warnings.append("training.warmup: it ends after the first drop of the learning rate")
    if rise and training.schedule == "one-cycle":
        warnings.append("training.warmup: one-cycle has a rise of its own, and both factors are multiplied")
    averaging = parse_averaging(training.averaging)
    if averaging is not None and averaging[0] == "swa":
        first = int(averaging[1] * epochs)
        if first >= epochs - 1:
            warnings.append(
                f"training.averaging: {training.averaging} is the last of {epochs} epochs alone, no average"
            )
        elif drops and first * per_epoch > drops[-1]:
            warnings.append(
                f"training.averaging: {training.averaging} begins after the last drop of the learning rate, where "
                "weights hardly move"
            )
    return warnings


def _is_one(size: int | float | str) -> bool:
    return isinstance(size, int) and size == 1
