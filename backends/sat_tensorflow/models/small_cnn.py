"""The small CNN; `sat_core.reference.networks` has its oracle."""

from __future__ import annotations

import keras
from keras import layers

from sat_core.reference.networks import STRIDES, WIDTHS
from sat_tensorflow.models.layers import convolution, inputs, normalised, pooled


def small_cnn(classes: int, image_shape: tuple[int, int, int]) -> keras.Model:
    """Make the network; 94,186 weights for digits.

    Three times convolution 3x3, BatchNorm, ReLU; then the mean over pixels and a linear layer.
    """
    x = images = inputs(image_shape)
    for i, (width, stride) in enumerate(zip(WIDTHS, STRIDES, strict=True), 1):
        x = normalised(convolution(x, f"conv{i}", width, stride=stride), f"bn{i}")
    return keras.Model(images, layers.Dense(classes, name="fc")(pooled(x)))
