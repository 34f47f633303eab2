"""G2: recording difficulty costs little beside a training step."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from measure import compare, keep_memory, record
from scipy.special import softmax
from scipy.stats import entropy

from sat_core.difficulty import Recorder

CLOCK = time.process_time


@pytest.mark.benchmark(timer=CLOCK)
@pytest.mark.parametrize("key", ["recorder", "recorder-kept"])
def test_recorder(benchmark: Any, key: str) -> None:
    """All four statistics by the recorder, against the entropy alone by scipy; memory cannot be un-kept, so that is
    the second.
    """
    if key == "recorder-kept":
        keep_memory()
    n, k = (64, 100) if benchmark.disabled else (4096, 1000)
    rng = np.random.default_rng(0)
    logits = 3 * rng.standard_normal((n, k), np.float32)
    labels = np.where(rng.random(n) < 0.5, logits.argmax(axis=1), rng.integers(0, k, n))  # half right: mid-training
    index, recorder = rng.permutation(n), Recorder(n)
    expected = entropy(softmax(logits, axis=1), axis=1)
    ratios = compare(
        benchmark,
        lambda: recorder.update(index, logits, labels),
        lambda: entropy(softmax(logits, axis=1), axis=1),
        rounds=100,
        clock=CLOCK,
    )
    np.testing.assert_allclose(recorder.scores()["entropy"][index], expected, rtol=1e-4)
    record(benchmark, key, 1 / ratios)
