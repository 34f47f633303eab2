"""Real images: the arms of examples/cifar10.toml, in its order, in this process; and standard AutoAttack on them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from gpu_log import Log, Measurement, Row
from gpu_setup import Bench, learnable_examples

from sat_core.arm import run_arm
from sat_core.data import DataSet
from sat_core.datasets import get_dataset
from sat_core.files import write_npz
from sat_core.job import Job
from sat_core.ranking import Ranking, needs_ranking, run_ranking
from sat_core.run_folder import RunFolder
from sat_core.study import Study

SECTION = "images"
STUDY = Path(__file__).parents[1] / "examples" / "cifar10.toml"
SCREENING = {"evaluation.attacks": "screening"}
"""After each training, so that something whole is there when time is up; standard AutoAttack comes last."""
TINY = {
    "model.name": "small-cnn",
    "training.epochs": 1,
    "training.batch_size": 16,
    "training.augmentation": "none",
    "ranking.epochs": 1,
    "attack.steps": 2,
    "attack.eps": 3.0,  # breaks every image at once, and the engine "fast" stops there
    "evaluation.attacks": ["apgd-ce"],
    "evaluation.selection_epochs": [1],
    "evaluation.selection_share": 8,
    "evaluation.examples": 8,
    "subset.size": [1.0, 0.5],
    "subset.strategy": "hardest",
}
PACKAGE = 250
"""Images on which the package itself is run."""


def measurements(bench: Bench, log: Log, path: Path | None) -> Iterator[Measurement]:
    """Yield a measurement for each arm, before the first that needs it the ranking, then standard AutoAttack on each.

    Args:
        bench: What is measured on.
        log: The record.
        path: CIFAR-10 as an .npz; None for generated images, in a smoke round.
    """
    real = _Images(bench, log, path)
    ranked = False
    for arm in real.study.arms:
        if needs_ranking(arm.spec) and not ranked:
            ranked = True
            yield Measurement("ranking", real.rank)
        yield Measurement(arm.name, partial(real.train, arm))
    for engine, n in (("fast", None), ("package", PACKAGE)):
        for arm in real.study.arms:
            name = f"{arm.name}, standard, {engine}"
            if log.row(SECTION, arm.name):
                yield Measurement(name, partial(real.attack, arm, engine, n))


class _Images:
    """The study, its data, and its folder in that of the results."""

    def __init__(self, bench: Bench, log: Log, path: Path | None) -> None:
        self._smoke = bench.size.budget is not None
        path = path or _generated(log.folder / "generated.npz")
        self.study = Study.load(STUDY).set(
            {**SCREENING, "data.name": f"npz:{path.resolve()}", **(TINY if self._smoke else {})}
        )
        self._bench, self._folder = bench, RunFolder(log.folder / "cifar10")

    @cached_property
    def _data(self) -> DataSet:
        # only once it is needed: to read CIFAR-10 takes seconds
        return get_dataset(self.study.base.data.name)

    def _job(self, arm: Any) -> Job:
        return Job(spec=arm.spec, data=self._data, backend=self._bench.backend, folder=self._folder.unit(arm.name))

    def _ranking(self) -> Ranking:
        job = Job(spec=self.study.base, data=self._data, backend=self._bench.backend, folder=self._folder.ranking)
        return run_ranking(job)

    def rank(self) -> Row:
        return {"training, s": self._bench.seconds(self._ranking)}

    def train(self, arm: Any) -> Row:
        """Train an arm and attack it; one that was broken off continues."""
        ranking = self._ranking() if needs_ranking(arm.spec) else None
        start = time.perf_counter()
        results = run_arm(self._job(arm), ranking)
        trained = results.cost.seconds["training"] or 0.0
        return {
            "robust %": 100 * results.robust_accuracy.value,
            "clean %": 100 * results.clean_accuracy.value,
            "attacks": _words(arm.spec.evaluation.attacks),
            "images": len(self._job(arm).evaluation_split()[2]),
            "training, s": trained,
            "attack, s": time.perf_counter() - start - trained,
        }

    def attack(self, arm: Any, engine: str, n: int | None) -> Row:
        """Attack the best epoch of an arm on the reported images, or the first of them."""
        job = self._job(arm)
        images = self._data.test.take(job.evaluation_split()[2][:n])
        classifier = self._bench.backend.load(job.folder.best_checkpoint)
        threat = {"norm": arm.spec.attack.norm, "eps": arm.spec.attack.eps}
        attacks = ("apgd-ce",) if self._smoke else "standard"
        start = time.perf_counter()
        evaluation = self._bench.backend.evaluate(
            classifier, images.images, images.labels, engine=engine, attacks=attacks, **threat
        )
        return {
            "robust %": 100 * evaluation.robust_accuracy.value,
            "clean %": 100 * evaluation.clean_accuracy.value,
            "attacks": _words(attacks),
            "images": len(images),
            "attack, s": time.perf_counter() - start,
        }


def _words(attacks: str | tuple[str, ...]) -> str:
    return attacks if isinstance(attacks, str) else ", ".join(attacks)


def _generated(path: Path) -> Path:
    """Write a small data set with ten classes and return its path."""
    data = learnable_examples(64, 8)
    parts = {"train": data.take(np.arange(40)), "test": data.take(np.arange(40, 64))}
    images = {f"x_{part}": examples.images for part, examples in parts.items()}
    write_npz(path, images | {f"y_{part}": examples.labels for part, examples in parts.items()})
    return path
