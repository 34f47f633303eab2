"""What a TensorFlow training computes with: folded copies in its precision, weights rounded once, fused BatchNorm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from toys import own_network

from sat_core.attack_spec import AttackSpec
from sat_core.backend import Backend
from sat_core.testing import samples
from sat_core.testing.parity import IMAGE_SHAPES

pytestmark = pytest.mark.tensorflow

HALVES = ["bf16", "fp16"]


def attacked(classifier: Any, precision: str) -> Any:
    from sat_tensorflow.attacked import Attacked

    return Attacked(classifier, samples.training(precision=precision))


def own(backend: Backend) -> Any:
    import tensorflow as tf

    network = own_network(backend)
    network(tf.zeros((1, *samples.SHAPE)))
    network.layers[0].trainable = False  # such as features that are frozen
    return backend.wrap(network, classes=samples.CLASSES, image_shape=samples.SHAPE)


@pytest.mark.parametrize("precision", HALVES)
@pytest.mark.parametrize("whose", ["own", "ours"])
def test_each_weight_is_rounded_once_per_attack(backend: Backend, precision: str, whose: str) -> None:
    """Nothing that is rounded in the loop has the shape of a weight: there, it would be rounded in each step."""
    import tensorflow as tf

    classifier: Any = own(backend) if whose == "own" else samples.build(backend, "small-cnn")
    network, found = attacked(classifier, precision), []

    @tf.function(autograph=False)
    def both(images: Any) -> Any:
        graph, ends = tf.compat.v1.get_default_graph(), [0]
        forward = network.weights()
        ends.append(len(graph.get_operations()))
        logits = forward(images)
        casts = [op if op.type == "Cast" else None for op in graph.get_operations()]
        found.extend([op.outputs[0].shape for op in part if op] for part in (casts[: ends[1]], casts[ends[1] :]))
        return logits

    assert both(tf.zeros((7, *samples.SHAPE))).dtype == tf.float32
    once, each = ([tuple(shape) for shape in part if shape.rank and shape[0] != 7] for part in found)
    layers = [x for x in classifier.native.layers if hasattr(x, "kernel")]
    weights = [tuple(v.shape) for layer in layers for v in layer.weights]
    if whose == "ours":
        weights += [tuple(x.beta.shape) for x in classifier.native.layers if hasattr(x, "beta")]
    assert each == []
    assert not set(weights) - set(once)
    assert all(v.dtype == "float32" for v in classifier.native.weights)


@pytest.mark.parametrize(
    ("model", "precision"),
    [("small-cnn", "bf16"), ("small-cnn", "fp16"), ("wide-preact-resnet18", "bf16"), ("linear", "bf16")],
)
def test_a_folded_copy_in_half_precision_attacks_as_the_network_does(
    backend: Backend, model: str, precision: str
) -> None:
    """Compared are the losses on the adversarial examples; their pixels depend on the signs of small gradients."""
    import tensorflow as tf

    from sat_tensorflow.attacks import PGD
    from sat_tensorflow.losses import attack_loss
    from sat_tensorflow.modes import precision as within
    from sat_tensorflow.trainer import HALF

    shape = IMAGE_SHAPES[model]
    classifier: Any = samples.build(backend, model, shape=shape)
    data, attack = samples.examples(6, shape=shape), AttackSpec(norm="L2", eps=0.3, step_size=0.1)
    images, labels, losses = tf.constant(data.images), tf.constant(data.labels), []

    def plain(x: Any) -> Any:
        with within(classifier.native, HALF[precision]):
            return classifier.forward(x)

    for made in (attacked(classifier, precision).weights, lambda: plain):
        pgd = PGD(made, gradient_scale=1024.0 if precision == "fp16" else 1.0)
        losses.append(float(tf.reduce_mean(attack_loss(classifier.forward(pgd(images, labels, attack)), labels))))
    gain = losses[1] - float(tf.reduce_mean(attack_loss(classifier.forward(images), labels)))
    assert gain > 0
    assert abs(losses[0] - losses[1]) < 0.1 * gain


@pytest.mark.parametrize(
    ("dtype", "within"), [("float64", 1e-6), ("float32", 1e-4), ("bfloat16", 2e-2), ("float16", 3e-3)]
)
def test_batchnorm_in_training_mode_is_pytorchs(dtype: str, within: float) -> None:
    """Output, gradients and running statistics against numpy's in float64; the running variance is unbiased."""
    import tensorflow as tf

    from sat_tensorflow.models.layers import BatchNorm

    wide = dtype if dtype == "float64" else "float32"
    layer, rng = BatchNorm(dtype=wide), np.random.default_rng(0)
    layer.build((None, None, None, 5))
    gamma, beta = rng.uniform(0.5, 2, 5), rng.normal(size=5)
    layer.gamma.assign(gamma)
    layer.beta.assign(beta)
    x, slope = (tf.cast(rng.normal(0.05, 0.02, (3, 2, 2, 5)), dtype) for _ in range(2))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer.call(x, training=True)
        total = tf.reduce_sum(tf.cast(y, wide) * tf.cast(slope, wide))
    gradients = tape.gradient(total, [x, layer.gamma.value, layer.beta.value])
    v, g = (np.asarray(tf.cast(t, "float64")).reshape(-1, 5) for t in (x, slope))
    mean, variance, n = v.mean(0), v.var(0), len(v)
    deviation = np.sqrt(variance + 1e-5)  # another ε shows, as the variance is 4e-4
    normal = (v - mean) / deviation
    of_x = gamma / deviation * (g - g.mean(0) - normal * (g * normal).mean(0))
    for got, expected in (
        (y, normal * gamma + beta),
        (gradients[0], of_x),
        (gradients[1], (g * normal).sum(0)),
        (gradients[2], g.sum(0)),
        (layer.moving_mean.value, 0.1 * mean),
        (layer.moving_variance.value, 0.9 + 0.1 * variance * n / (n - 1)),
    ):
        error = np.abs(np.asarray(tf.cast(got, "float64")).reshape(expected.shape) - expected).max()
        assert error < within * np.abs(expected).max()
    assert y.dtype == x.dtype
