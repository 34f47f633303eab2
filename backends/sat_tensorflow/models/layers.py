"""Layers that Keras defines in another way than PyTorch: padding, BatchNorm, and types of inputs."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import KerasTensor, layers
from tensorflow import Tensor

from sat_core.reference.layers import BATCHNORM_EPSILON, BATCHNORM_MOMENTUM
from sat_tensorflow.batch_norm import global_batch_norm

CHANNELS = "channels_last"
"""Passed to every layer that takes it; otherwise image_data_format in the user's keras.json decides."""


def inputs(image_shape: tuple[int, int, int]) -> KerasTensor:
    """Make the input for images, in the type of the weights; Keras's own is float32 whatever the policy."""
    return keras.Input(image_shape, dtype=keras.config.dtype_policy().variable_dtype)


def convolution(x: KerasTensor, name: str, width: int, size: int = 3, stride: int = 1) -> KerasTensor:
    """Add a convolution without bias, padded alike on both sides, as PyTorch does.

    TensorFlow's "same" pads the end more than the beginning if the stride is 2, which shifts the image.
    """
    symmetric = stride == 1 or size == 1
    if not symmetric:
        x = layers.ZeroPadding2D(size // 2, CHANNELS)(x)
    padding = "same" if symmetric else "valid"
    return layers.Conv2D(width, size, stride, padding, CHANNELS, use_bias=False, name=name)(x)


def pooled(x: KerasTensor) -> KerasTensor:
    """Add the mean over pixels."""
    return layers.GlobalAveragePooling2D(CHANNELS)(x)


def normalised(x: KerasTensor, name: str) -> KerasTensor:
    """Add BatchNorm and ReLU."""
    return layers.ReLU()(BatchNorm(name=name)(x))


@keras.saving.register_keras_serializable("sat_tensorflow")
class BatchNorm(layers.BatchNormalization):
    """BatchNorm over the last axis as PyTorch defines it.

    ε = 1e-5, and running ← 0.9 · running + 0.1 · batch, where the running variance gets the batch's unbiased one;
    Keras has 1e-3, 0.99 and the biased one. Statistics are never computed in less than float32, as in PyTorch's
    autocast.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"epsilon": BATCHNORM_EPSILON, "momentum": 1 - BATCHNORM_MOMENTUM, **options})

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """Return `inputs` `(n, h, w, c)`, normalised."""
        if training and self.synchronized:  # see `sat_tensorflow.distributed.as_rank`
            wide = tf.cast(inputs, self.variable_dtype)
            y, *batch = global_batch_norm(wide, self.gamma.value, self.beta.value, self.epsilon)
            self._update(*batch)
            return tf.cast(y, inputs.dtype)
        if training and inputs.dtype != tf.float64:
            return self._fused(inputs)
        x = tf.cast(inputs, self.variable_dtype)
        mean, variance = self.moving_mean.value, self.moving_variance.value
        if training:
            mean, variance = tf.nn.moments(x, axes=(0, 1, 2))
            count = tf.cast(tf.size(x) // tf.size(mean), x.dtype)
            # n / (n - 1) makes it unbiased; the batch itself is normalised with the biased one
            self._update(mean, variance * (count / tf.maximum(count - 1, 1)))
        scale, shift = self.affine(mean, variance)
        return tf.cast(x * scale + shift, inputs.dtype)

    def _fused(self, inputs: Tensor) -> Tensor:
        """Compute `call` in training mode by TensorFlow's own kernel, which has statistics in float32 for all it takes.

        tf.nn.fused_batch_norm would raise ε = 1e-5 to 1.001e-5.
        """
        fused = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=self.gamma.value,
            offset=self.beta.value,
            mean=[],
            variance=[],
            epsilon=self.epsilon,
            data_format="NHWC",
            is_training=True,
        )
        self._update(fused.batch_mean, fused.batch_variance)  # the unbiased one
        return fused.y

    def _update(self, mean: Tensor, variance: Tensor) -> None:
        for running, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            running.assign(running.value * self.momentum + batch * BATCHNORM_MOMENTUM)

    def affine(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return the factor and the summand of each channel, given their `mean` and `variance`, each `(c,)`."""
        scale = self.gamma.value / tf.sqrt(variance + self.epsilon)
        return scale, self.beta.value - mean * scale
