"""Makes the results of an arm: accuracies, the choice of the epoch, and all else that `results.json` has."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence

import numpy as np

from sat_core.accuracy import Accuracies, accuracies
from sat_core.arm_results import ArmResults
from sat_core.autoattack import CUSTOM_LEVEL, LEVELS, begins_with
from sat_core.evaluation import Evaluation
from sat_core.initial_network import fingerprint
from sat_core.job import EVALUATION_SEED, Job
from sat_core.network_cost import NetworkCost
from sat_core.position import Position
from sat_core.ranking import Ranking, needs_ranking
from sat_core.result_parts import (
    AttackSummary,
    Check,
    CollapseSummary,
    Cost,
    DataSummary,
    LevelResults,
    RankingSummary,
    Selection,
    SplitSummary,
    WatchSummary,
    WeightsSummary,
)
from sat_core.spec import Spec
from sat_core.splits import SELECTION_SEED, Split
from sat_core.training import WATCH
from sat_core.transfer import FEATURES
from sat_core.version import VERSION


def clean_and_robust(
    evaluation: Evaluation, split: Split | SplitSummary, classes: int | None = None
) -> tuple[Accuracies, Accuracies]:
    """Return clean and robust accuracies over all images, A and B; given the number of classes, over each, too."""
    in_a = split.mask_over(evaluation.label)
    correct, robust = (
        accuracies(good, evaluation.label, classes, in_a) for good in (evaluation.correct, evaluation.robust)
    )
    return correct, robust


def make_check(epoch: int, evaluation: Evaluation, split: Split) -> Check:
    """Return the check after `epoch` (from 1), of the `evaluation` on the selection split."""
    clean, robust = clean_and_robust(evaluation, split)
    return Check(epoch=epoch, clean=clean, robust=robust)


def best_epoch(checks: Sequence[Check]) -> int:
    """Return the epoch with the highest robust accuracy; ties go to clean accuracy, then to the earlier epoch."""
    # Over all classes, also where A is made of classes (INFERRED; recipe, section 1.3).
    return max(checks, key=lambda check: (check.robust.all.value, check.clean.all.value, -check.epoch)).epoch


def out_of_patience(checks: Sequence[Check], patience: int) -> bool:
    """Return whether the last `patience` checks have no higher robust accuracy than the best before; never for 0."""
    best, since = -1.0, 0
    for robust in (check.robust.all.value for check in checks):
        best, since = (robust, 0) if robust > best else (best, since + 1)
    return 0 < patience <= since


def make_results(
    job: Job,
    ranking: Ranking,
    split: Split,
    checks: Sequence[Check],
    evaluation: Evaluation,
    position: Position,
    warnings: Sequence[str],
    experiment: str,
    attacked: SplitSummary,
    taken: Sequence[str] = (),
    network: NetworkCost | None = None,
) -> ArmResults:
    """Return the results of a finished arm.

    Args:
        job, ranking, split: What it was trained with.
        checks: Of all epochs that were checked.
        evaluation: Of the epoch that they chose, on the images that report.
        position: End of the training.
        warnings: Of data and training.
        experiment: Fingerprint of the arm.
        attacked: The split, with how many examples were attacked.
        taken: What the network took from other libraries and files, see `sat_core.classifier.Classifier`.
        network: What the network costs, if that is known.
    """
    spec, data = job.spec, job.data
    level = attacks if isinstance(attacks := spec.evaluation.attacks, str) else CUSTOM_LEVEL
    measured = level_results(evaluation, level, split, data.classes)
    versions = {"sat-core": VERSION, "python": platform.python_version(), "numpy": np.__version__}
    return ArmResults(
        arm=job.folder.name,
        full_name=job.full_name,
        spec=spec.to_tables(),
        backend=job.backend.name,
        device=job.backend.device,
        devices=tuple(position.devices),
        # The evaluator gives its package as one text, "pyautoattack 0.2.0".
        versions={**versions, **job.backend.versions(), **dict([evaluation.package.rsplit(" ", 1)])},
        seeds={
            "training": spec.training.seed,
            "ranking": ranking.seed,
            "selection_split": SELECTION_SEED,
            "attack": EVALUATION_SEED,
        },
        data=DataSummary(
            name=data.name,
            fingerprint=data.fingerprint(),
            classes=tuple(data.class_names),
            image_shape=data.image_shape,
            mean=tuple(data.mean),
            std=tuple(data.std),
            train=len(data.train),
            test=len(data.test),
        ),
        source=job.source.summary(job.folder) if job.source else None,
        weights=_weights(job, taken),
        ranking=_ranking(spec, ranking),
        split=attacked,
        selection=Selection(epoch=best_epoch(checks), attacks=spec.evaluation.selection_attacks, checks=tuple(checks)),
        clean=clean_and_robust(evaluation, split, data.classes)[0],
        robust=measured.robust,
        attacks=measured.attacks,
        levels=tuple(weaker_levels(evaluation, level, split, data.classes)),
        cost=_cost(job, ranking, split, position, network),
        epochs=position.epoch,
        losses=tuple(position.losses),
        watch=_watch(job, position),
        collapse=_collapse(position),
        warnings=(
            *job.warnings(split.size),
            *(ranking.warnings(spec.ranking.metric) if needs_ranking(spec) else ()),
            *warnings,
        ),
        experiment=experiment,
    )


def level_results(evaluation: Evaluation, level: str, split: Split | SplitSummary, classes: int) -> LevelResults:
    """Return what the `evaluation` at a level measured, for the results of an arm with this `split`."""
    return LevelResults(
        robust=clean_and_robust(evaluation, split, classes)[1],
        attacks=AttackSummary.of(evaluation, level),
    )


def weaker_levels(
    evaluation: Evaluation, level: str, split: Split | SplitSummary, classes: int
) -> Iterator[LevelResults]:
    """Yield the results of the weaker levels that the `evaluation` at a level begins with."""
    for weaker in begins_with(level):
        names = [attack.name for attack in LEVELS[weaker]]
        # Without any of its attacks, as an evaluator of the user's own may have others, nothing is known of it.
        if evaluation.attacks[0].name in names:
            yield level_results(evaluation.after(names), weaker, split, classes)


def _weights(job: Job, taken: Sequence[str]) -> WeightsSummary | None:
    path = job.spec.model.weights
    summary = WeightsSummary(fingerprint=fingerprint(path) if path else "", taken=tuple(taken))
    return summary if path or taken else None


def _ranking(spec: Spec, ranking: Ranking) -> RankingSummary | None:
    if not needs_ranking(spec):
        return None
    metric = spec.ranking.metric
    correlation = ranking.order_correlation(metric)
    return RankingSummary(metric=metric, record=spec.ranking.record, order_correlation=correlation)


def _collapse(position: Position) -> CollapseSummary | None:
    accuracy, alignment = position.pgd_accuracy, position.gradient_alignment
    return CollapseSummary(pgd_accuracy=tuple(accuracy), gradient_alignment=tuple(alignment)) if accuracy else None


def _watch(job: Job, position: Position) -> WatchSummary | None:
    if not position.watched:
        return None
    attack, count = job.spec.attack, min(job.spec.evaluation.watch, len(job.evaluation_split()[1]))
    clean, robust = zip(*position.watched, strict=True)
    return WatchSummary(examples=count, norm=attack.norm, eps=attack.eps, clean=clean, robust=robust)


def _cost(job: Job, ranking: Ranking, split: Split, position: Position, network: NetworkCost | None) -> Cost:
    training, attack, seconds = job.spec.training, job.spec.attack, job.folder.seconds()
    stages = (
        *([FEATURES] if job.source else []),
        "training",
        *([WATCH] if position.watched else []),
        "selection",
        "evaluation",
    )
    # Without the dropped batches, like the counts that it is compared with.
    examples = training.epochs * job.planner(split).steps_per_epoch * training.batch_size
    return Cost(
        attack_gradients=position.attack_gradients,
        training_gradients=position.training_gradients,
        ranking_gradients=ranking.gradients,
        selection_forwards=position.selection_forwards,
        full_at_gradients=examples * (attack.replays + attack.passes),
        expected_seconds=job.expected_seconds,
        flops=None if network is None or job.source else _flops(network, position),
        seconds={"ranking": ranking.seconds, **{stage: round(seconds.get(stage, 0.0), 3) for stage in stages}},
    )


def _flops(network: NetworkCost, position: Position) -> int:
    """Return the FLOPs of a training, its attacks included; `sat_core.network_cost` says what is counted."""
    steps = position.training_gradients * network.step_flops
    attacks = position.attack_gradients * network.gradient_flops
    return steps + attacks + position.selection_forwards * network.forward_flops
