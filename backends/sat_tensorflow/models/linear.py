"""Softmax regression: the model whose gradients the numpy oracle knows exactly."""

from __future__ import annotations

import keras
from keras import layers

from sat_tensorflow.models.layers import CHANNELS, inputs


def linear(classes: int, image_shape: tuple[int, int, int]) -> keras.Model:
    """Make one linear layer on the flattened image, its pixels in the canonical order (channel, row, column)."""
    images = inputs(image_shape)
    flat = layers.Flatten(CHANNELS)(layers.Permute((3, 1, 2))(images))
    return keras.Model(images, layers.Dense(classes, name="fc")(flat))
