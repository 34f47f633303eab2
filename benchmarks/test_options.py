"""G24: a step with each option costs what a loop costs that one writes for it by hand."""

from __future__ import annotations

import itertools
import time
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from bare import Bare
from measure import compare, keep_memory, record

from sat_core.backend import get_backend
from sat_core.batches import Planner
from sat_core.data import Examples
from sat_core.splits import Split
from sat_core.testing.options import OPTIONS

CLOCK, BATCH, SHAPE = time.perf_counter, 64, (32, 32, 3)
MEASURED = (
    "TRADES",
    "N-FGSM",
    "Free-AT",
    "restarts",
    "EMA",
    "clipping",
    "micro-batches",
    "mixup",
    "AWP",
    "hardest of each batch",
)

pytestmark = pytest.mark.benchmark(timer=CLOCK)


@pytest.mark.parametrize("name", MEASURED)
def test_option(benchmark: Any, name: str) -> None:
    """The small CNN on 32x32 images, half of them in A, PGD-2 or what the option has; the same batches for both."""
    rounds = 1 if benchmark.disabled else 21
    torch.set_num_threads(1)
    keep_memory()
    option, rng = OPTIONS[name], np.random.default_rng(0)
    training, attack, loss = option.settings(precision="float32", batch_size=BATCH)
    data = Examples(rng.integers(0, 256, (4 * BATCH, *SHAPE), np.uint8), rng.integers(0, 10, 4 * BATCH), classes=10)
    members = np.arange(len(data)) % 2 == 0
    split = Split(kind="examples", strategy="listed", members=members, classes=None, weights=(1.0, 1.0))
    planner = Planner(split, attrs.evolve(training, batches="stratified"), attack, SHAPE, "", loss)
    plan = attrs.evolve(planner.epoch(0), online=option.online)
    backend = get_backend("torch")
    ours, theirs = (backend.build("small-cnn", classes=10, image_shape=SHAPE) for _ in range(2))
    trainer = backend.trainer(ours, data, training, attack, None, loss)
    bare = Bare(theirs.module, option)  # type: ignore[attr-defined]
    images, labels = torch.from_numpy(data.images.transpose(0, 3, 1, 2).copy()), torch.from_numpy(data.labels)
    weights = torch.from_numpy(plan.weights)
    losses: dict[str, list[float]] = {"ours": [], "bare": []}
    numbers = (itertools.cycle(range(plan.steps)), itertools.cycle(range(plan.steps)))
    trainer.begin(plan)

    def step() -> None:
        number = next(numbers[0])
        trainer.step(number)
        losses["ours"] += trainer.losses(number, number + 1).tolist()

    def bare_step() -> None:
        number = next(numbers[1])
        index = torch.from_numpy(plan.index[number])
        losses["bare"].append(bare.step(images[index], labels[index], weights[number], int(plan.members[number])))

    ratios = compare(benchmark, step, bare_step, rounds, CLOCK)
    # the first steps do the same work; random starts and partners are drawn in other ways
    assert losses["ours"][0] == pytest.approx(losses["bare"][0], rel=0.1)
    record(benchmark, f"option-{name}", ratios)
