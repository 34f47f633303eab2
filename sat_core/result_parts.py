"""The parts of an arm's results: data, split, ranking, selection, attacks, cost and source (docs/results.md)."""

from __future__ import annotations

from typing import Any, final

import attrs
import numpy as np

from sat_core.accuracy import Accuracies
from sat_core.evaluation import AttackOutcome, Evaluation
from sat_core.json_fields import (
    Unfit,
    flag,
    integer,
    json_field,
    mapping,
    number,
    optional,
    part,
    sequence,
    table,
    text,
)
from sat_core.spec import DEFAULTS
from sat_core.tables import flatten

ROUNDING = 1e-9
"""By so much an accuracy may lie outside of its interval."""


def _attacks(value: Any) -> str | tuple[str, ...]:
    """Read a set of attacks by its name, or a list of attacks."""
    attacks: str | tuple[str, ...] = sequence(text)(value) if isinstance(value, list) else text(value)
    return attacks


def read_settings(value: Any) -> dict[str, Any]:
    """Read the settings of an arm; the names in them are not looked up, since plug-ins may not be loaded."""
    settings = flatten(table(value))
    # Those that tables and figures read; what an older version lacks has its default.
    for key in ("training.seed", "weighting.rule", "model.name"):
        if key not in settings and key not in DEFAULTS:
            raise Unfit(f"settings with {key}", sorted(settings)[:3])
    return table(value)


@final
@attrs.frozen(kw_only=True)
class DataSummary:
    """The data set of an arm.

    Attributes:
        name, fingerprint: Name in the study file, and SHA-256 of all images and labels.
        classes: Names of the classes.
        image_shape: (height, width, channels).
        mean, std: Per channel, with which a network normalises; of a transfer the source's do.
        train, test: Numbers of examples.
    """

    name: str = json_field(text)
    fingerprint: str = json_field(text)
    classes: tuple[str, ...] = json_field(sequence(text))
    image_shape: tuple[int, int, int] = json_field(sequence(integer(1), 3))
    mean: tuple[float, ...] = json_field(sequence(number()))
    std: tuple[float, ...] = json_field(sequence(number()))
    train: int = json_field(integer(1))
    test: int = json_field(integer(1))


@final
@attrs.frozen(kw_only=True)
class SplitSummary:
    """How A was chosen, and how large it is.

    Attributes:
        kind, strategy: As in the study file.
        size: |A| in training examples.
        units: How many classes or examples were chosen.
        share: |A|/N.
        classes: The classes in A; empty if A is made of examples.
        weights: (w_A, w_B).
        moving: Whether members change during the training: each batch chooses its own, or A is chosen anew.
        attacked: How many training examples were attacked at least once; None before the end of the training.
        attacked_in_b: How many of them were not in A as it was chosen before the training: 0 where A is fixed. Where
            each batch chooses its members, all of them.
    """

    kind: str = json_field(text)
    strategy: str = json_field(text)
    size: int = json_field(integer())
    units: int = json_field(integer())
    share: float = json_field(number(0, 1))
    classes: tuple[int, ...] = json_field(sequence(integer()))
    weights: tuple[float, float] = json_field(sequence(number(0), 2))
    moving: bool = json_field(flag, False, omit=True)
    attacked: int | None = json_field(optional(integer()), None, omit=True)
    attacked_in_b: int | None = json_field(optional(integer()), None, omit=True)

    def mask_over(self, labels: np.ndarray) -> np.ndarray | None:
        """Return which examples of other data are of the classes in A, bool `(n,)`; None where A has no fixed ones."""
        return np.isin(labels, self.classes) if self.kind == "classes" and not self.moving else None


@final
@attrs.frozen(kw_only=True)
class WeightsSummary:
    """What a training began with, if that were no new weights.

    Attributes:
        fingerprint: SHA-256 of the file that ``model.weights`` names; empty if it names none.
        taken: What was taken from the file or from the record of a library, one line each.
    """

    fingerprint: str = json_field(text)
    taken: tuple[str, ...] = json_field(sequence(text))


@final
@attrs.frozen(kw_only=True)
class RankingSummary:
    """The ranking that was trained for an arm.

    Attributes:
        metric, record: As in the study file.
        order_correlation: Spearman's ρ between the difficulty of examples and their place in the first epoch of the
            ranking, near 0 where it measures difficulty.
    """

    metric: str = json_field(text)
    record: str = json_field(text)
    # A correlation of ±1 may be beyond it by rounding.
    order_correlation: float | None = json_field(optional(number(-1 - ROUNDING, 1 + ROUNDING)))


@final
@attrs.frozen(kw_only=True)
class Check:
    """Accuracies on the selection split after one epoch, counted from 1."""

    epoch: int = json_field(integer(1))
    clean: Accuracies = json_field(part(Accuracies), key="clean_accuracy")
    robust: Accuracies = json_field(part(Accuracies), key="robust_accuracy")


@final
@attrs.frozen(kw_only=True)
class Selection:
    """The epoch that was picked, the attacks by which it was, and all epochs that were checked."""

    epoch: int = json_field(integer(1))
    attacks: str | tuple[str, ...] = json_field(_attacks)
    checks: tuple[Check, ...] = json_field(sequence(part(Check)))


@final
@attrs.frozen(kw_only=True)
class AttackSummary:
    """The reported evaluation without its flags per example; fields as in `sat_core.evaluation.Evaluation`.

    Attributes:
        level: One of `sat_core.autoattack.LEVELS`, or `CUSTOM_LEVEL` for a list of attacks.
        breakdown: What each attack broke, in the order in which they ran.
    """

    norm: str = json_field(text)
    eps: float = json_field(number(0))
    level: str = json_field(text)
    package: str = json_field(text)
    engine: str = json_field(text)
    precision: str = json_field(text, "float32")
    batch_size: int | None = json_field(optional(integer(1)), None)
    breakdown: tuple[AttackOutcome, ...] = json_field(sequence(part(AttackOutcome)))
    warnings: tuple[str, ...] = json_field(sequence(text))

    @classmethod
    def of(cls, evaluation: Evaluation, level: str) -> AttackSummary:
        """Return the summary of an evaluation at a level."""
        kept = ("norm", "eps", "package", "engine", "precision", "batch_size", "warnings")
        fields = {name: getattr(evaluation, name) for name in kept}
        return cls(level=level, breakdown=evaluation.breakdown(), **fields)


@final
@attrs.frozen(kw_only=True)
class LevelResults:
    """What another level of evaluation than the reported one measured on the same images."""

    robust: Accuracies = json_field(part(Accuracies), key="robust_accuracy")
    attacks: AttackSummary = json_field(part(AttackSummary))


@final
@attrs.frozen(kw_only=True)
class Cost:
    """Gradient evaluations of a training, in examples: one forward and backward pass of one image is 1.

    AutoAttack is in none of these counts.

    Attributes:
        attack_gradients, training_gradients: Spent on attacks in training, and on training steps.
        ranking_gradients: Spent on the ranking, which the arms of a study share; 0 if none was trained.
        selection_forwards: Forward evaluations of the network in training by which members of A were chosen, in
            examples: all images of each step where the batch chooses by looking, N each time A is chosen anew.
        full_at_gradients: Both together in full adversarial training of all ``training.epochs``, with the same attack
            and the cross-entropy.
        expected_seconds: What all stages but the ranking were expected to take, before the run; None if nobody knew.
        seconds: By stage, over all starts of the run; that of the ranking is None if none was trained.
        flops: Of the training with its attacks, without the ranking, a multiply-add as 2 (`sat_core.network_cost`);
            None of a head, and of a network that could not be measured.
    """

    attack_gradients: int = json_field(integer())
    training_gradients: int = json_field(integer())
    ranking_gradients: int = json_field(integer())
    selection_forwards: int = json_field(integer())
    full_at_gradients: int = json_field(integer(1))
    expected_seconds: float | None = json_field(optional(number(0)), None)
    seconds: dict[str, float | None] = json_field(mapping(optional(number(0))))
    flops: int | None = json_field(optional(integer()), None, omit=True)

    @property
    def total_seconds(self) -> float:
        """All stages together."""
        return sum(seconds for seconds in self.seconds.values() if seconds is not None)


@final
@attrs.frozen(kw_only=True)
class CollapseSummary:
    """By what a training with a single-step attack was watched for catastrophic overfitting.

    Attributes:
        pgd_accuracy, gradient_alignment: After each epoch, on members of A; see `sat_core.collapse`.
    """

    pgd_accuracy: tuple[float, ...] = json_field(sequence(number(0, 1)))
    # A cosine of ±1 may be beyond it by rounding.
    gradient_alignment: tuple[float, ...] = json_field(sequence(number(-1 - ROUNDING, 1 + ROUNDING)))


@final
@attrs.frozen(kw_only=True)
class WatchSummary:
    """What `evaluation.watch` saw after each epoch on images of the selection split, by PGD-10 (`sat_core.watch`).

    Attributes:
        examples: How many images were watched.
        norm, eps: Threat model; eps in units of [0, 1] pixels.
        clean, robust: Share of them that is classified correctly as it is, and both as it is and after the
            attack, after each epoch.
    """

    examples: int = json_field(integer(1))
    norm: str = json_field(text)
    eps: float = json_field(number(0))
    clean: tuple[float, ...] = json_field(sequence(number(0, 1)), key="clean_accuracy")
    robust: tuple[float, ...] = json_field(sequence(number(0, 1)), key="robust_accuracy")


@final
@attrs.frozen(kw_only=True)
class SourceSummary:
    """The run that the features of a transfer come from.

    Attributes:
        run: Its folder, relative to that of the transfer.
        fingerprint: SHA-256 of its checkpoint.
        spec, split, cost, clean, robust, backend, data: As in its `ArmResults`.
    """

    run: str = json_field(text)
    fingerprint: str = json_field(text)
    spec: dict[str, Any] = json_field(read_settings)
    split: SplitSummary = json_field(part(SplitSummary))
    cost: Cost = json_field(part(Cost))
    clean: Accuracies = json_field(part(Accuracies), key="clean_accuracy")
    robust: Accuracies = json_field(part(Accuracies), key="robust_accuracy")
    backend: str = json_field(text)
    data: DataSummary = json_field(part(DataSummary))


@final
@attrs.frozen(kw_only=True)
class Checks:
    """The checks of a training so far, as they stand in `selection.json`, and the experiment that they are of."""

    experiment: str = json_field(text)
    checks: tuple[Check, ...] = json_field(sequence(part(Check)))
