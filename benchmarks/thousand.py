"""Studies with thousands of finished arms that were never trained: settings and formats are real, scores are random."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from sat_core import files
from sat_core.arm import claim_arm
from sat_core.autoattack import AUTOATTACK, AttackSettings
from sat_core.check_epochs import check_epochs
from sat_core.datasets import get_dataset
from sat_core.difficulty import DIFFICULTIES
from sat_core.evaluation import MISCLASSIFIED, ROBUST, Evaluation
from sat_core.job import Job
from sat_core.json_fields import to_json
from sat_core.position import Position
from sat_core.ranking import Ranking, ranking_job, ranking_tables
from sat_core.reference import NumpyBackend
from sat_core.result_parts import Checks
from sat_core.results import make_check, make_results
from sat_core.run_folder import RunFolder
from sat_core.splits import Split
from sat_core.study import Study

PER_SEED = 10
"""Arms per seed: two strategies with four sizes each, and the two baselines."""
TABLES: dict[str, Any] = {
    "data": {"name": "digits"},
    "model": {"name": "small-cnn"},
    "attack": {"eps": 0.5},
    "training": {"epochs": 30, "batch_size": 64},
}
# Two grids, in which no baseline is there twice: a study may have 10,000 points.
GRIDS: list[dict[str, Any]] = [
    {"subset.size": [0.0, 1.0]},
    {"subset.size": [0.1, 0.3, 0.5, 0.7], "subset.strategy": ["hardest", "random"]},
]


def make_study(arms: int, rates: int = 1) -> Study:
    """Return the study.

    Args:
        arms: Their number, a multiple of ten times `rates`.
        rates: Learning rates, each of which is a curve of its own; everything else are seeds.
    """
    values = {"training.seed": list(range(arms // (PER_SEED * rates)))}
    values |= {"training.lr": [0.02 * (1 + number) / rates for number in range(rates)]}
    return Study.from_tables({**TABLES, "grid": [{**grid, **values} for grid in GRIDS]})


def write_study(path: Path, arms: int = 1000, rates: int = 1) -> Study:
    """Write the finished study into `path`, half a minute for ten thousand arms; arguments as of `make_study`."""
    study, data, backend = make_study(arms, rates), get_dataset("digits"), NumpyBackend()
    rng = np.random.default_rng(0)
    folder = RunFolder(path)
    jobs = [Job(spec=arm.spec, data=data, backend=backend, folder=folder.unit(arm.name)) for arm in study.arms]
    folder.claim(jobs[0].experiment(study.to_tables()))
    base = ranking_job(attrs.evolve(jobs[0], spec=study.base, folder=folder.ranking))
    arrays = {name: rng.random(len(data.train)) for name in DIFFICULTIES} | {"places": np.arange(len(data.train))}
    arrays |= {"seed": np.array(0), "gradients": np.array(43110)}
    arrays[files.EXPERIMENT] = np.array(folder.ranking.claim(base.experiment(ranking_tables(base))))
    files.write_npz(folder.ranking.ranking_file, arrays)
    ranking = Ranking.read(folder.ranking)
    for job in jobs:
        _write_arm(job, ranking, rng)
    return study


def _write_arm(job: Job, ranking: Ranking, rng: np.random.Generator) -> None:
    folder, fingerprint = job.folder, claim_arm(job)
    split = ranking.split(job)
    candidates, picking, reporting = job.evaluation_split()
    chosen = {"members": np.flatnonzero(split.members), "selection": picking, "report": reporting}
    lists = {name: index.tolist() for name, index in chosen.items()}
    files.write_json(folder.split_file, {**to_json(split.summary()), **lists})
    checks = []
    for epoch in check_epochs(job.spec, len(job.data.train)):
        found = _evaluation(job, candidates.labels[picking], ("apgd-ce", "apgd-t"), split, rng)
        checks.append(make_check(epoch, found, split))
    files.write_json(folder.checks_file, to_json(Checks(experiment=fingerprint, checks=tuple(checks))))
    for stage, seconds in (("training", 61.2), ("selection", 12.4), ("evaluation", 9.8)):
        folder.add_seconds(stage, seconds)
    evaluation = _evaluation(job, job.data.test.labels[reporting], AUTOATTACK, split, rng)
    wrong = evaluation.broken_by == MISCLASSIFIED
    flags = {
        "label": evaluation.label,
        "predicted": np.where(wrong, (evaluation.label + 1) % 10, evaluation.label),
        "broken_by": evaluation.broken_by,
        "settings": np.array(json.dumps({"attacks": [{"name": name} for name in AUTOATTACK]})),
        "queries": np.full(len(AUTOATTACK), 1000),
    }
    files.write_npz(folder.evaluation_file("report"), flags)
    losses = (2.3 * np.exp(-np.arange(job.spec.training.epochs) / 6) + 0.1 * rng.random(30)).tolist()
    position = Position(epoch=30, losses=losses, attack_gradients=7 * 30 * split.size, training_gradients=43110)
    results = make_results(job, ranking, split, checks, evaluation, position, [], fingerprint, split.summary())
    files.write_json(folder.results_file, results.to_json())


def _evaluation(
    job: Job, labels: np.ndarray, attacks: tuple[str, ...], split: Split, rng: np.random.Generator
) -> Evaluation:
    """Draw an evaluation in which more images are robust the more examples are in A."""
    robust = 0.3 + 0.4 * split.size / len(split.members)
    outcomes = [ROBUST, MISCLASSIFIED, *range(len(attacks))]
    shares = [robust, 0.1, *[(0.9 - robust) / len(attacks)] * len(attacks)]
    return Evaluation(
        label=labels,
        broken_by=rng.choice(outcomes, size=len(labels), p=shares),
        attacks=tuple(AttackSettings(name=name, iterations=100) for name in attacks),
        norm=job.spec.attack.norm,
        eps=job.spec.attack.eps,
        package="pyautoattack 0.2",
    )


if __name__ == "__main__":
    write_study(Path(sys.argv[1]), *map(int, sys.argv[2:]))
