"""The results of one arm, as objects: what `results.json` and `selection.json` say (docs/results.md)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, final

import attrs

from sat_core.accuracy import Accuracies, Accuracy
from sat_core.errors import DataError, quoted
from sat_core.evaluation import AttackOutcome
from sat_core.json_fields import (
    Unfit,
    from_json,
    integer,
    json_field,
    mapping,
    number,
    optional,
    part,
    sequence,
    table,
    text,
    to_json,
)
from sat_core.spec import DEFAULTS
from sat_core.tables import flatten

_ROUNDING = 1e-9
"""By so much an accuracy may lie outside of its interval."""


def _attacks(value: Any) -> str | tuple[str, ...]:
    """Read a set of attacks by its name, or a list of attacks."""
    attacks: str | tuple[str, ...] = sequence(text)(value) if isinstance(value, list) else text(value)
    return attacks


def _spec(value: Any) -> dict[str, Any]:
    """Read the settings of an arm; the names in them are not looked up, since plug-ins may not be loaded."""
    settings = flatten(table(value))
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
    """

    kind: str = json_field(text)
    strategy: str = json_field(text)
    size: int = json_field(integer())
    units: int = json_field(integer())
    share: float = json_field(number(0, 1))
    classes: tuple[int, ...] = json_field(sequence(integer()))
    weights: tuple[float, float] = json_field(sequence(number(0), 2))


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
    order_correlation: float | None = json_field(optional(number(-1 - _ROUNDING, 1 + _ROUNDING)))


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
        version: ``standard``, ``plus``, or ``custom`` for a list of attacks.
        breakdown: What each attack broke, in the order in which they ran.
    """

    norm: str = json_field(text)
    eps: float = json_field(number(0))
    version: str = json_field(text)
    package: str = json_field(text)
    engine: str = json_field(text)
    precision: str = json_field(text)
    breakdown: tuple[AttackOutcome, ...] = json_field(sequence(part(AttackOutcome)))
    warnings: tuple[str, ...] = json_field(sequence(text))


@final
@attrs.frozen(kw_only=True)
class Cost:
    """Gradient evaluations of a training, in examples: one forward and backward pass of one image is 1.

    AutoAttack is in none of these counts.

    Attributes:
        attack_gradients, training_gradients: Spent on attacks in training, and on training steps.
        ranking_gradients: Spent on the ranking, which the arms of a study share; 0 if none was trained.
        full_at_gradients: What full adversarial training of the same length takes, both together.
        seconds: By stage, over all starts of the run; that of the ranking is None if none was trained.
    """

    attack_gradients: int = json_field(integer())
    training_gradients: int = json_field(integer())
    ranking_gradients: int = json_field(integer())
    full_at_gradients: int = json_field(integer(1))
    seconds: dict[str, float | None] = json_field(mapping(optional(number(0))))

    @property
    def share(self) -> float:
        """Cost of the training as a share of what full adversarial training takes."""
        return (self.attack_gradients + self.training_gradients) / self.full_at_gradients

    @property
    def ranking_share(self) -> float:
        """Cost of the ranking in the same unit."""
        return self.ranking_gradients / self.full_at_gradients

    @property
    def total_seconds(self) -> float:
        """All stages together."""
        return sum(seconds for seconds in self.seconds.values() if seconds is not None)


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
    spec: dict[str, Any] = json_field(_spec)
    split: SplitSummary = json_field(part(SplitSummary))
    cost: Cost = json_field(part(Cost))
    clean: Accuracies = json_field(part(Accuracies), key="clean_accuracy")
    robust: Accuracies = json_field(part(Accuracies), key="robust_accuracy")
    backend: str = json_field(text)
    data: DataSummary = json_field(part(DataSummary))


@final
@attrs.frozen(kw_only=True)
class ArmResults:
    """The results of a finished arm, as they stand in its `results.json`.

    Attributes:
        arm, full_name: Name of the arm's folder, and the whole name where it is too long for one.
        spec: All settings, as `Spec.to_tables` returns them.
        backend, device, versions: What computed it.
        seeds: By purpose; that of the ranking is None if none was trained.
        data, ranking, split, cost: See their classes.
        source: Of a transfer only. Then split and cost of `source` say how the features were trained, and those of the
            results how the head was.
        selection: The chosen epoch, and the checks that chose it.
        clean, robust: Accuracies of the chosen epoch on the examples that did not choose it.
        attacks: How it was attacked.
        losses: Mean training loss of each epoch in nats.
        warnings: Lines about data, settings, ranking and training.
        experiment: SHA-256 of what makes the arm.
        reused: Folder of the finished arm that was taken over, if one was.
    """

    arm: str = json_field(text)
    full_name: str = json_field(text, "", omit=True)
    spec: dict[str, Any] = json_field(_spec)
    backend: str = json_field(text)
    device: str = json_field(text)
    versions: dict[str, str] = json_field(mapping(text))
    seeds: dict[str, int | None] = json_field(mapping(optional(integer())))
    data: DataSummary = json_field(part(DataSummary))
    source: SourceSummary | None = json_field(part(SourceSummary), None, omit=True)
    ranking: RankingSummary | None = json_field(optional(part(RankingSummary)))
    split: SplitSummary = json_field(part(SplitSummary))
    selection: Selection = json_field(part(Selection))
    clean: Accuracies = json_field(part(Accuracies), key="clean_accuracy")
    robust: Accuracies = json_field(part(Accuracies), key="robust_accuracy")
    attacks: AttackSummary = json_field(part(AttackSummary))
    cost: Cost = json_field(part(Cost))
    losses: tuple[float, ...] = json_field(sequence(number()))
    warnings: tuple[str, ...] = json_field(sequence(text))
    experiment: str = json_field(text)
    reused: str = json_field(text, "", omit=True)

    @property
    def clean_accuracy(self) -> Accuracy:
        """Share of images that are classified correctly as they are, over all classes."""
        return self.clean.all

    @property
    def robust_accuracy(self) -> Accuracy:
        """Share of images that are classified correctly as they are and after every attack, over all classes."""
        return self.robust.all

    @property
    def trained(self) -> ArmResults | SourceSummary:
        """Whose split, cost, settings and training data say what A was: of a transfer its source's, else its own."""
        return self.source or self

    @property
    def all_warnings(self) -> tuple[str, ...]:
        """Warnings about the training, then those about the evaluation."""
        return (*self.warnings, *self.attacks.warnings)

    def to_json(self) -> dict[str, Any]:
        """Return the content of `results.json`."""
        content: dict[str, Any] = to_json(self)
        return content

    @classmethod
    def from_json(cls, content: Any) -> ArmResults:
        """Return the results that `results.json` says.

        Raises:
            DataError: One line that begins with the field that is missing, wrong, or does not fit the others.
        """
        results = from_json(cls, content)
        for field, expected, value in results._misfits():
            raise DataError(f"{field}: expected {expected}, got {quoted(value)}")
        return results

    def _misfits(self) -> Iterator[tuple[str, str, object]]:
        """Fields that do not fit the others: their name, what was expected, and their value."""
        total, classes = self.trained.data.train, len(self.trained.data.classes)
        if self.split.size > self.data.train:
            yield "split.size", f"at most the {self.data.train} training examples", self.split.size
        if self.source is not None and self.source.split.size > total:
            yield "source.split.size", f"at most the {total} training examples", self.source.split.size
        if max(self.trained.split.classes, default=0) >= max(classes, 1):
            yield "split.classes", f"classes in 0..{classes - 1}", list(self.trained.split.classes)
        if self.selection.epoch not in [check.epoch for check in self.selection.checks]:
            yield "selection.epoch", "an epoch that was checked", self.selection.epoch
        for field, accuracies in (("clean_accuracy", self.clean), ("robust_accuracy", self.robust)):
            per_class = accuracies.per_class
            if per_class is None or len(per_class) != len(self.data.classes):
                yield f"{field}.per_class", f"a list of {len(self.data.classes)}", per_class and len(per_class)
            for each in (accuracies.all, accuracies.a, accuracies.b, *(per_class or ())):
                if each and not each.low - _ROUNDING <= each.value <= each.high + _ROUNDING:
                    yield field, "accuracies within their intervals", each.value


@final
@attrs.frozen(kw_only=True)
class Checks:
    """The checks of a training so far, as they stand in `selection.json`, and the experiment that they are of."""

    experiment: str = json_field(text)
    checks: tuple[Check, ...] = json_field(sequence(part(Check)))
