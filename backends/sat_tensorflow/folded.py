"""Our networks as an attack sees them: BatchNorm in evaluation mode is affine, and the convolution before takes it in.

The same function but for rounding, with fewer passes over memory: what is left of BatchNorm is a bias, which TensorFlow
adds, and clips, as it writes the convolution.
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
from sat_tensorflow.modes import Forward


def folded(model: keras.Model) -> Callable[[], Forward]:
    """Takes the weights of one of our networks as they are when it is called; see `sat_tensorflow.modes.frozen`."""
    norms = [(norm, _convolution(norm)) for norm in model.layers if isinstance(norm, BatchNorm)]

    def taken() -> Forward:
        constants = {id(v): (v, tf.stop_gradient(v.value)) for v in model.trainable_variables}
        calls: dict[Any, Callable[..., Tensor]] = {}
        for norm, convolution in norms:
            scale, shift = norm.affine(norm.moving_mean.value, norm.moving_variance.value)
            calls[norm] = _affine(tf.stop_gradient(scale), tf.stop_gradient(shift))
            if convolution is not None:
                kernel = convolution.kernel
                constants[id(kernel)] = kernel, tf.stop_gradient(kernel.value * scale)
                calls[norm] = _shifted(tf.stop_gradient(shift))

        def forward(images: Tensor) -> Tensor:
            with keras.StatelessScope(state_mapping=[*constants.values()]), _called(calls):
                return model(images, training=False)

        return forward

    return taken


def _convolution(norm: BatchNorm) -> layers.Conv2D | None:
    """The convolution whose output only `norm` takes."""
    found = norm.input._keras_history.operation
    alone = isinstance(found, layers.Conv2D) and not found.use_bias and len(found._outbound_nodes) == 1
    return found if alone else None


def _affine(scale: Tensor, shift: Tensor) -> Callable[..., Tensor]:
    return lambda x, **_: x * scale + shift


def _shifted(shift: Tensor) -> Callable[..., Tensor]:
    return lambda x, **_: tf.nn.bias_add(x, shift)


@contextmanager
def _called(calls: dict[Any, Callable[..., Tensor]]) -> Iterator[None]:
    """Inside, layers call these functions."""
    for layer, call in calls.items():
        layer.call = call
    try:
        yield
    finally:
        for layer in calls:
            del layer.call
