"""G14: the time of a study's training beyond that of its gradients."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from measure import keep_memory, record, timed
from torch.nn.functional import cross_entropy

from sat_core import DataSet, Study, get_backend, get_dataset
from sat_core.job import Job
from sat_core.ranking import run_ranking
from sat_core.spec import Spec
from sat_core.unit_folder import UnitFolder
from sat_torch.attacks import perturb
from sat_torch.folded import Folded

EXAMPLE = Path(__file__).parents[1] / "examples" / "digits.toml"
CLOCK = time.perf_counter


class Bare:
    """A bare loop on whole batches: nothing is planned, recorded or saved, and every image of a batch is attacked."""

    def __init__(self, spec: Spec, data: DataSet) -> None:
        shape: dict[str, Any] = {"image_shape": data.image_shape, "mean": data.mean, "std": data.std}
        classifier = get_backend("torch").build(spec.model.name, classes=data.classes, **shape)
        self._module = classifier.module.to(memory_format=torch.channels_last)  # type: ignore[attr-defined]
        self._folded, self._attack, self._batch = Folded(classifier.native), spec.attack, spec.training.batch_size
        t = spec.training
        options = {"momentum": t.momentum, "weight_decay": t.weight_decay, "fused": True}
        self._optimizer = torch.optim.SGD(self._module.parameters(), t.lr, **options)
        images = data.train.float_images()[: self._batch]
        self._x = torch.from_numpy(images).permute(0, 3, 1, 2)
        self._y = torch.from_numpy(data.train.labels[: self._batch])

    def perturb(self) -> None:
        """Attack every image."""
        normalised = self._module.preparing(torch.float32)
        self._folded.fold()
        perturb(lambda x: self._folded(normalised(x)), self._x, self._y, self._attack)

    def step(self) -> None:
        """Do the training step."""
        self._module.train()
        self._optimizer.zero_grad()
        cross_entropy(self._module(self._x), self._y).backward()
        self._optimizer.step()

    def seconds(self, repeats: int) -> tuple[float, float]:
        """Return the median seconds per example of one gradient of the attack, and of the step."""
        seconds = [(timed(self.perturb, CLOCK), timed(self.step, CLOCK)) for _ in range(repeats)]
        attack, step = np.median(seconds, axis=0) / self._batch
        return float(attack) / self._attack.steps, float(step)


@pytest.mark.benchmark(timer=CLOCK)
def test_training_of_the_example(benchmark: Any, tmp_path: Path) -> None:
    """Ranking and all arms of examples/digits.toml on one thread, one after another.

    Planning, records and checkpoints are included, AutoAttack and the start of processes are not. The bare loop is
    timed again before each arm.
    """
    smoke = benchmark.disabled
    keep_memory()
    study, data, backend = Study.load(EXAMPLE), get_dataset("digits"), get_backend("torch")
    if smoke:
        study = study.set({"training.epochs": 1, "ranking.epochs": 2, "subset.size": [0.1]})
    spec = study.arms[0].spec
    ratios: list[float] = []

    def train() -> None:
        folder = tmp_path / str(len(ratios))
        bare, spent, expected = Bare(spec, data), 0.0, 0.0
        attack, step = bare.seconds(2 if smoke else 50)
        job = Job(spec=spec, data=data, backend=backend, folder=UnitFolder(folder / "ranking"))
        start = CLOCK()
        ranking = run_ranking(job)
        spent += CLOCK() - start
        expected += step * ranking.gradients
        for arm in study.arms:
            attack, step = bare.seconds(2 if smoke else 50)
            own = attrs.evolve(job, spec=arm.spec, folder=UnitFolder(folder / arm.name))
            start = CLOCK()
            position = own.fit(own.build(), ranking.split(own), "").run()
            spent += CLOCK() - start
            expected += attack * position.attack_gradients + step * position.training_gradients
        ratios.append(spent / expected)

    with backend.session(spec.training):
        benchmark.pedantic(train, rounds=1 if smoke else 3, iterations=1)
    assert np.isfinite(ratios).all()
    record(benchmark, "study-training", ratios)
