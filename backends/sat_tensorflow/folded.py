"""Our networks for attacks, with BatchNorm folded into the convolutions.

In evaluation mode BatchNorm is affine with constants per channel, so that norm(conv(x, W)) = s·conv(x, W) + t =
conv(x, s·W) + t, with s = γ / √(σ² + ε) and t = β - μ·s. This is numerically equivalent up to rounding and makes fewer
passes over memory: what is left of BatchNorm is a bias, and TensorFlow fuses convolution, bias and ReLU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf
from keras import layers
from tensorflow import Tensor

from sat_tensorflow.models.layers import BatchNorm
from sat_tensorflow.modes import Forward, constants, held


def folded(model: keras.Model, half: str | None = None) -> Callable[[], Forward]:
    """Prepare one of our networks for folding.

    Args:
        model: the network.
        half: type that the forward computes in, ``bfloat16`` or ``float16``; None for the type of the weights.

    Returns:
        A function that folds the weights as they are when it is called, and returns a forward as
        `sat_tensorflow.modes.frozen` does: gradients end at the weights, and no variable changes. Products are in the
        type of the weights and rounded once.
    """
    norms = [(norm, _convolution(norm)) for norm in model.layers if isinstance(norm, BatchNorm)]

    def fold() -> Forward:
        values, calls = constants(model, half), dict[Any, Callable[..., Tensor]]()

        def constant(value: Tensor) -> Tensor:
            return tf.cast(tf.stop_gradient(value), half or value.dtype)

        for norm, convolution in norms:
            scale, shift = norm.affine(norm.moving_mean.value, norm.moving_variance.value)
            calls[norm] = _affine(constant(scale), constant(shift))
            if convolution is not None:
                kernel = convolution.kernel
                # kernels are (h, w, in, out) here, so that a factor per output channel needs no reshaping
                values[id(kernel)] = kernel, constant(kernel.value * scale)
                calls[norm] = _shifted(constant(shift))
        forward = held(model, values, half)

        def with_calls(images: Tensor) -> Tensor:
            with _called(calls):
                return forward(images)

        return with_calls

    return fold


def _convolution(norm: BatchNorm) -> layers.Conv2D | None:
    """The convolution whose output only `norm` takes: others would get the scaled one."""
    layer = norm.input._keras_history.operation
    alone = isinstance(layer, layers.Conv2D) and not layer.use_bias and len(layer._outbound_nodes) == 1
    return layer if alone else None


def _affine(scale: Tensor, shift: Tensor) -> Callable[..., Tensor]:
    return lambda x, **_: x * scale + shift


def _shifted(shift: Tensor) -> Callable[..., Tensor]:
    return lambda x, **_: tf.nn.bias_add(x, shift)  # TensorFlow fuses it with the convolution and the ReLU


@contextmanager
def _called(calls: dict[Any, Callable[..., Tensor]]) -> Iterator[None]:
    """Inside, each layer computes its function in place of its own `call`."""
    for layer, call in calls.items():
        layer.call = call
    try:
        yield
    finally:
        for layer in calls:
            del layer.call
