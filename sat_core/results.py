"""Scores, the choice of the epoch, and the content of `results.json`."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Any

import numpy as np

from sat_core.accuracy import accuracies
from sat_core.evaluation import Evaluation
from sat_core.job import EVALUATION_SEED, Job
from sat_core.json_fields import to_json
from sat_core.ranking import Ranking, needs_ranking
from sat_core.sections import EvaluationSpec
from sat_core.spec import Spec
from sat_core.splits import SELECTION_SEED, Split
from sat_core.training import Position
from sat_core.transfer import FEATURES
from sat_core.version import VERSION

ACCURACIES = ("clean_accuracy", "robust_accuracy")


def scores(found: Evaluation, split: Split, classes: int | None = None) -> dict[str, Any]:
    """Clean and robust accuracy over all, A and B; and, given the number of classes, over each."""
    in_a = split.mask_over(found.label)
    return {
        "clean_accuracy": to_json(accuracies(found.correct, found.label, classes, in_a)),
        "robust_accuracy": to_json(accuracies(found.robust, found.label, classes, in_a)),
    }


def best_epoch(checks: Sequence[dict[str, Any]]) -> int:
    """The epoch with the highest robust accuracy over all classes; ties go to clean accuracy, then to the earlier."""

    def merit(check: dict[str, Any]) -> tuple[float, float, int]:
        return check["robust_accuracy"]["all"]["value"], check["clean_accuracy"]["all"]["value"], -check["epoch"]

    return int(max(checks, key=merit)["epoch"])


def content(
    job: Job,
    ranking: Ranking,
    split: Split,
    checks: list[dict[str, Any]],
    report: Evaluation,
    position: Position,
    warnings: list[str],
) -> dict[str, Any]:
    """What `results.json` says of a finished arm; the fields are described in `docs/results.md`."""
    spec, data = job.spec, job.data
    seconds = job.folder.seconds()
    planned = spec.training.epochs * job.planner(split).steps_per_epoch * spec.training.batch_size
    stages = (*([FEATURES] if job.source else []), "training", "selection", "evaluation")
    versions = {"sat-core": VERSION, "python": platform.python_version(), "numpy": np.__version__}
    return {
        "arm": job.folder.name,
        **({"full_name": job.full_name} if job.full_name else {}),
        "spec": spec.to_tables(),
        "backend": job.backend.name,
        "device": job.backend.device,
        "versions": {**versions, **job.backend.versions(), **dict([report.package.rsplit(" ", 1)])},
        "seeds": {
            "training": spec.training.seed,
            "ranking": ranking.seed,
            "selection_split": SELECTION_SEED,
            "attack": EVALUATION_SEED,
        },
        "data": {
            "name": data.name,
            "fingerprint": data.fingerprint(),
            "classes": list(data.class_names),
            "image_shape": list(data.image_shape),
            "mean": list(data.mean),
            "std": list(data.std),
            "train": len(data.train),
            "test": len(data.test),
        },
        **({"source": job.source.summary(job.folder)} if job.source else {}),
        "ranking": _ranking(spec, ranking),
        "split": split.summary(),
        "selection": {"epoch": best_epoch(checks), "attacks": spec.evaluation.selection_attacks, "checks": checks},
        **scores(report, split, data.classes),
        "attacks": {
            "norm": report.norm,
            "eps": report.eps,
            "version": version(spec.evaluation),
            "package": report.package,
            "engine": report.engine,
            "precision": report.precision,
            "breakdown": to_json(report.breakdown()),
            "warnings": list(report.warnings),
        },
        "cost": {
            "attack_gradients": position.attack_gradients,
            "training_gradients": position.training_gradients,
            "ranking_gradients": ranking.gradients,
            "full_at_gradients": planned * (1 + spec.attack.steps),
            "seconds": {
                "ranking": ranking.seconds,
                **{stage: round(seconds.get(stage, 0.0), 3) for stage in stages},
            },
        },
        "losses": position.losses,
        "warnings": [
            *job.warnings(split.size),
            *(ranking.warnings(spec.ranking.metric) if needs_ranking(spec) else ()),
            *warnings,
        ],
    }


def _ranking(spec: Spec, ranking: Ranking) -> dict[str, Any] | None:
    if not needs_ranking(spec):
        return None
    metric = spec.ranking.metric
    return {"metric": metric, "record": spec.ranking.record, "order_correlation": ranking.order_correlation(metric)}


def version(evaluation: EvaluationSpec) -> str:
    """``standard``, ``plus``, or ``custom`` for a list of attacks."""
    return evaluation.attacks if isinstance(evaluation.attacks, str) else "custom"
