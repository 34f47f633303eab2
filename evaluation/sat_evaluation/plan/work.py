"""What an arm, a ranking or a head has to compute, counted before it runs."""

from __future__ import annotations

from typing import final

import attrs

from sat_core.augmentation import AUGMENTATIONS
from sat_core.check_epochs import check_epochs
from sat_core.collapse import PROBE
from sat_core.difficulty import DIFFICULTIES
from sat_core.difficulty_kinds import MeasuredDifficulty
from sat_core.evaluation_spec import EvaluationSpec
from sat_core.member_losses import LOSSES
from sat_core.network_cost import GRADIENT, STEP
from sat_core.selection import LOOKING, SELECTION_RULES
from sat_core.spec import Spec
from sat_core.splits import count, validation_split
from sat_evaluation.plan.facts import Facts
from sat_evaluation.plan.queries import NO_QUERIES, Queries, guess_for, queries


@final
@attrs.frozen(kw_only=True)
class Work:
    """What one unit computes. Counts are examples where nothing else is said, as in `sat_core.result_parts.Cost`.

    Attributes:
        training_gradients, attack_gradients: Gradient evaluations of training steps, and of attacks in training.
        forwards: Further forward passes: snapshots of a ranking, features of a head, looking for members of A.
        steps, attack_steps: Batches of both; each has a fixed cost beside that of its images.
        checks: Attacks on the images that pick the epoch, over all checks.
        report: Attacks on the reported images.
        on_features: Whether training steps are those of a head, for which the network is not computed.
    """

    training_gradients: int = 0
    attack_gradients: int = 0
    forwards: int = 0
    steps: int = 0
    attack_steps: int = 0
    checks: Queries = NO_QUERIES
    report: Queries = NO_QUERIES
    on_features: bool = False

    @property
    def gradients(self) -> int:
        """Gradient evaluations of the training, attacks included."""
        return self.training_gradients + self.attack_gradients

    @property
    def training_passes(self) -> float:
        """Forward passes of one image that the training costs."""
        own = 0 if self.on_features else STEP * self.training_gradients
        return own + GRADIENT * self.attack_gradients + self.forwards

    @property
    def passes(self) -> float:
        """Forward passes of one image that all costs, AutoAttack included."""
        return self.training_passes + self.checks.passes + self.report.passes


def subset_size(spec: Spec, facts: Facts) -> int:
    """Return |A| in examples; where A is made of classes, as if all were of one size."""
    subset = spec.subset
    if subset.kind == "examples":
        return min(count(subset.size, facts.train), facts.train)
    number = len(subset.classes) if subset.strategy == "listed" else count(subset.size, facts.classes)
    return round(facts.train * min(number, facts.classes) / facts.classes)


def arm_work(spec: Spec, facts: Facts, size: int | None = None) -> Work:
    """Return what an arm computes; of training.patience the whole length.

    Args:
        spec: Of the arm.
        facts: Of its data.
        size: |A| in examples, if it is known; else as `subset_size` takes it.

    Raises:
        SpecError: No attack of the evaluation fits the data, or there are too few images.
    """
    size = subset_size(spec, facts) if size is None else size
    training, attack, n = spec.training, spec.attack, facts.train
    steps = training.epochs * (n // training.batch_size)
    seen = steps * training.batch_size
    members = round(seen * size / n)
    forwards = seen if SELECTION_RULES.get(spec.subset.strategy).online in LOOKING else 0
    if spec.subset.rerank:
        forwards += n * ((training.epochs - 1) // spec.subset.rerank)
    if attack.steps == 1 and size:  # the watch for catastrophic overfitting: PGD-10 and two gradients
        forwards += training.epochs * min(PROBE, size) * (12 * GRADIENT + 2)
    return _evaluated(
        Work(
            training_gradients=training_gradients(spec, seen, members),
            attack_gradients=members * attack.passes,
            forwards=forwards,
            steps=steps * attack.replays,
            attack_steps=_attacked(steps, size / n, training.batch_size) * attack.passes,
        ),
        spec,
        facts,
        size / n,
    )


def training_gradients(spec: Spec, examples: int, members: float) -> int:
    """Return the gradient evaluations of training steps, as `sat_core.batches.Planner.cost` counts them.

    Args:
        spec: Of the arm.
        examples: That are in the batches.
        members: How many of them are of A.
    """
    of_steps = examples * spec.attack.replays
    of_steps += round(members) if LOSSES.get(spec.loss.kind).pairs else 0
    return of_steps + (examples if spec.training.awp and members else 0)


def ranking_work(base: Spec, facts: Facts) -> Work:
    """Return what the ranking of a study with this `sat_core.study.Study.base` computes."""
    steps = base.ranking.epochs * (facts.train // base.training.batch_size)
    extra = [DIFFICULTIES.get(name) for name in base.ranking.extra]
    gradients = sum(metric.gradients for metric in extra if isinstance(metric, MeasuredDifficulty))
    return Work(
        training_gradients=steps * base.training.batch_size + facts.train * gradients,
        forwards=facts.train * base.ranking.epochs if base.ranking.record == "snapshot" else 0,
        steps=steps,
    )


def head_work(spec: Spec, facts: Facts, share: float) -> Work:
    """Return what a head on frozen features computes.

    Args:
        spec: As `sat_core.transfer.transfer_spec` returns it.
        facts: Of the target, with images as the source has them.
        share: |A|/N of the source, for the guess of how robust it is.
    """
    training = spec.training
    steps = training.epochs * (facts.train // training.batch_size)
    # with augmentation, each batch goes through the frozen network
    augmented = AUGMENTATIONS.get(training.augmentation).active
    return _evaluated(
        Work(
            training_gradients=steps * training.batch_size,
            forwards=steps * training.batch_size if augmented else facts.train,
            steps=steps,
            on_features=True,
        ),
        spec,
        facts,
        share,
        head=True,
    )


def _attacked(steps: int, share: float, batch_size: int) -> int:
    """Return how many of the steps have at least one member of A."""
    return round(steps * (1 - (1 - min(share, 1.0)) ** batch_size)) if share else 0


def _evaluated(work: Work, spec: Spec, facts: Facts, share: float, *, head: bool = False) -> Work:
    evaluation, guess = spec.evaluation, guess_for(facts.name)
    picking, reporting = evaluated_images(evaluation, facts)
    checks = len(check_epochs(spec, facts.train, head=head))
    # PGD-10 and the predictions, after each epoch
    watched = spec.training.epochs * min(evaluation.watch, picking) * (10 * GRADIENT + 2)
    return attrs.evolve(
        work,
        forwards=work.forwards + watched,
        checks=queries(evaluation.selection_attacks, spec, facts, picking, guess, share).times(checks),
        report=queries(evaluation.attacks, spec, facts, reporting, guess, share),
    )


def evaluated_images(evaluation: EvaluationSpec, facts: Facts) -> tuple[int, int]:
    """Return how many images pick the epoch, and how many are reported; SpecError if there are too few."""
    key = evaluation, facts.test, facts.validation
    if key not in _SPLITS:
        _SPLITS[key] = tuple(map(len, validation_split(facts.test, evaluation, facts.validation)))
    picking, reporting = _SPLITS[key]
    return picking, reporting


_SPLITS: dict[tuple[EvaluationSpec, int, int], tuple[int, ...]] = {}
