"""G2 and G11: recording difficulty costs little beside a training step, and a ranking little beside its training."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from measure import compare, keep_memory, record
from scipy.special import softmax
from scipy.stats import entropy

from sat_core.data import DataSet, Examples
from sat_core.recorder import Recorder
from sat_core.sections import SubsetSpec
from sat_core.splits import Split, make_split

CLOCK = time.process_time
SUBSETS = (("examples", "hardest"), ("examples", "easiest"), ("examples", "random"), ("classes", "hardest"))


@pytest.mark.benchmark(timer=CLOCK)
@pytest.mark.parametrize("key", ["recorder", "recorder-kept"])
def test_recorder(benchmark: Any, key: str) -> None:
    """All seven statistics by the recorder, against the entropy alone by scipy."""
    if key == "recorder-kept":  # second, since it cannot be undone
        keep_memory()
    n, k = (64, 100) if benchmark.disabled else (4096, 1000)
    rng = np.random.default_rng(0)
    logits = 3 * rng.standard_normal((n, k), np.float32)
    labels = np.where(rng.random(n) < 0.5, logits.argmax(axis=1), rng.integers(0, k, n))  # half right: mid-training
    index, recorder = rng.permutation(n), Recorder(n, 1)
    expected = entropy(softmax(logits, axis=1), axis=1)
    ratios = compare(
        benchmark,
        lambda: recorder.update(index, logits, labels, 0),
        lambda: entropy(softmax(logits, axis=1), axis=1),
        rounds=100,
        clock=CLOCK,
    )
    np.testing.assert_allclose(recorder.scores()["entropy"][index], expected, rtol=1e-4)
    record(benchmark, key, 1 / ratios)


@pytest.mark.benchmark(timer=CLOCK)
def test_imagenet(benchmark: Any) -> None:
    """G11: a ranking of ImageNet's size, without the training that it records.

    1.28 million rows of logits are recorded in batches of 1024; then come the scores by all metrics and four splits:
    the hardest and the easiest examples, random ones, and the hardest classes. All rows would be 5 GB, so the recorder
    and the sum that it is compared with read a block of 65,536 rows again and again.
    """
    n, k, block, batch = (1000, 100, 256, 64) if benchmark.disabled else (1_280_000, 1000, 65_536, 1024)
    rng = np.random.default_rng(0)
    logits = 3 * rng.standard_normal((block, k), np.float32)
    labels = np.where(rng.random(block) < 0.5, logits.argmax(axis=1), rng.integers(0, k, block))
    order = rng.permutation(n)
    train = Examples(np.zeros((n, 1, 1, 1), np.uint8), np.arange(n) % k, classes=k)
    data = DataSet(name="n", train=train, test=train.take(np.arange(k)), class_names=("",) * k, mean=(0.0,), std=(1.0,))
    splits: list[Split] = []

    def rank() -> None:
        recorder = Recorder(n, 1)
        for start in range(0, n, batch):
            index, first = order[start : start + batch], start % block
            rows = slice(first, first + len(index))
            recorder.update(index, logits[rows], labels[rows], 0)
        scores = recorder.scores()["entropy"]
        for kind, strategy in SUBSETS:
            subset = SubsetSpec(kind=kind, strategy=strategy, size=0.3)
            splits.append(make_split(subset, "balanced", data, scores=scores))

    def add_up() -> None:
        for start in range(0, n, block):
            logits[: n - start].sum()

    ratios = compare(benchmark, rank, add_up, rounds=5, clock=CLOCK)
    assert {split.size for split in splits if split.kind == "examples"} == {round(0.3 * n)}
    record(benchmark, "imagenet", ratios)
