"""G1: the cost of a training step is in proportion to |A|."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from measure import compare, keep_memory, record, timed

from sat_core.attack_spec import AttackSpec
from sat_core.backend import get_backend
from sat_core.batches import Planner
from sat_core.data import Examples
from sat_core.splits import Split
from sat_core.training_spec import TrainingSpec

THREADS, CLOCK = 2, time.perf_counter
EPOCHS, BATCHES = 5, 10
"""50 batches. An epoch sees every image once, so that exactly the share of A is attacked in each epoch."""
ATTACK = AttackSpec(kind="pgd", norm="L2", eps=0.5, steps=7, step_size=0.1)

pytestmark = pytest.mark.benchmark(timer=CLOCK)


class Steps:
    """Training steps of one network on random images."""

    def __init__(self, model: str, shape: tuple[int, int, int], batch: int, batches: int) -> None:
        torch.set_num_threads(THREADS)
        keep_memory()  # otherwise a full step costs more per image than a small one, which flatters the ratio
        rng = np.random.default_rng(0)
        n = batch * batches
        data = Examples(rng.integers(0, 256, (n, *shape), np.uint8), rng.integers(0, 10, n), classes=10)
        backend = get_backend("torch")
        classifier = backend.build(model, classes=10, image_shape=shape, mean=(0.5,) * shape[2], std=(0.25,) * shape[2])
        self._training = TrainingSpec(epochs=1, batch_size=batch, lr=0.01, schedule="constant")
        self._trainer = backend.trainer(classifier, data, self._training, ATTACK)
        self._order, self._shape = rng.permutation(n), shape
        self.losses: list[float] = []

    def with_share(self, share: float, at_once: int = 1) -> Callable[[], None]:
        """Return a function that plans and does the next `at_once` steps with that share of the images in A."""
        members = self._order < round(share * len(self._order))
        split = Split(kind="examples", strategy="random", members=members, classes=None, weights=(1.0, 1.0))
        planner = Planner(split, self._training, ATTACK, self._shape)
        steps = ((plan, number) for plan in map(planner.epoch, itertools.count()) for number in range(plan.steps))

        def run() -> None:
            for plan, number in itertools.islice(steps, at_once):
                self._trainer.begin(plan)  # each time, as other shares take turns with this one
                self._trainer.step(number)
                self.losses += self._trainer.losses(number, number + 1).tolist()

        return run


@pytest.mark.parametrize(
    ("model", "shape", "batch", "percent"),
    [
        ("resnet18", (32, 32, 3), 64, 10),
        ("resnet18", (32, 32, 3), 64, 30),
        ("resnet18", (32, 32, 3), 64, 50),
        ("resnet18", (32, 32, 3), 16, 10),
        ("small-cnn", (8, 8, 1), 64, 10),
    ],
)
def test_cost_follows_a(benchmark: Any, model: str, shape: tuple[int, int, int], batch: int, percent: int) -> None:
    """Each epoch: ten SAT steps timed, among them two clean steps and one with everything in A."""
    smoke, share = benchmark.disabled, percent / 100
    steps = Steps("small-cnn", (8, 8, 3), 10, 2) if smoke else Steps(model, shape, batch, BATCHES)
    clean, full = steps.with_share(0.0), steps.with_share(1.0)
    clean(), full()  # first calls set up more than a step
    costs: dict[Any, list[float]] = {clean: [], full: []}
    counter = itertools.count()

    def references() -> None:
        i = next(counter) % BATCHES
        for step, places in ((clean, (2, 7)), (full, (5,))):
            if smoke or i in places:
                costs[step].append(timed(step, CLOCK))

    sat = steps.with_share(share, at_once=2 if smoke else 1)
    benchmark.pedantic(sat, setup=references, rounds=EPOCHS * BATCHES, iterations=1)
    assert np.isfinite(steps.losses).all()
    if not smoke:
        of_sat = np.reshape(benchmark.stats.stats.data, (EPOCHS, BATCHES)).mean(axis=1)
        of_clean, of_full = np.reshape(costs[clean], (EPOCHS, 2)).mean(axis=1), np.array(costs[full])
        record(benchmark, f"{model}-{batch}-{percent}", of_sat / (of_clean + share * (of_full - of_clean)))


def test_full_step(benchmark: Any) -> None:
    """For scale: PGD-7 on every image, at the sizes of the example study."""
    steps = Steps("small-cnn", (8, 8, 1), 64, BATCHES)
    ratios = compare(benchmark, steps.with_share(1.0), steps.with_share(0.0), rounds=30, clock=CLOCK)
    assert np.isfinite(steps.losses).all()
    record(benchmark, "full-step", ratios)
