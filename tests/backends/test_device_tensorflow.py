"""The hot path of a training in TensorFlow: no host reads, and noise as in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sat_core.ascent import random_start
from sat_core.backend import Backend
from sat_core.noise import example_keys
from sat_core.testing import samples
from sat_core.threat import THREAT_MODELS

pytestmark = pytest.mark.tensorflow


@pytest.mark.parametrize("changes", [{}, {"augmentation": "cifar"}, {"precision": "fp16"}], ids=str)
def test_a_step_reads_nothing_from_the_device(
    backend: Backend, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    data, training = samples.examples(32, whole=True), samples.training(batch_size=16, lr=1e-3, **changes)
    attack, reads = samples.attack(random_start=True, steps=2), []
    plan = samples.plans(32, 0.4, training, attack)[0]
    trainer: Any = backend.trainer(samples.build(backend, "small-cnn"), data, training, attack)
    trainer.begin(plan, record=True)
    trainer.step(0)  # which traces; later steps are what counts
    base: Any = type(tf.constant(0)).__mro__[1]
    read = base._numpy  # every way to a number or an array goes through it
    monkeypatch.setattr(base, "_numpy", lambda tensor: (reads.append(1), read(tensor))[1])
    trainer.step(1)
    assert not reads
    float(trainer._losses[1])
    assert len(reads) == 1  # the stub sees a read
    assert np.isfinite(trainer.losses(0, 2)).all()


@pytest.mark.parametrize("norm", ["L2", "Linf"])
def test_random_starts_are_those_of_numpy(norm: str) -> None:
    import tensorflow as tf

    from sat_tensorflow.ops import OPS

    keys, shape = example_keys(np.array([3, 4], np.uint32), 6), (5, 7, 3)
    made = random_start(OPS, norm, OPS.words(keys, tf.zeros(())), shape, 0.5).numpy()
    expected = THREAT_MODELS.get(norm).start(keys, (6, *shape), 0.5)
    assert made.dtype == expected.dtype
    if norm == "Linf":
        np.testing.assert_array_equal(made, expected)
    np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-7)
