"""A head for another task: one hidden layer and a linear one in place of the last layer (recipe, section 1.4)."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers
from tensorflow import Tensor

from sat_tensorflow.modes import inputs_of


def put_head(model: keras.Model, classes: int) -> tuple[keras.Model, keras.Model]:
    """Put a new head in place of the last layer of one of our networks, and freeze all else.

    The hidden layer is as wide as the features `(n, d)` that the head takes.

    Args:
        model: is not to be used any more.
        classes: number of logits.

    Returns:
        The network with the head, and the head.
    """
    features = model.layers[-1].input
    for layer in model.layers:
        layer.trainable = False
    head = _head(features.shape[-1], classes, "fc.", features.dtype)
    # its two layers and not the head as one: weights are named after the layers of the outermost model. "fc." is what
    # PyTorch calls the place of the last layer
    return keras.Model(model.inputs, head.layers[1](head.layers[0](features))), head


def _head(width: int, classes: int, prefix: str, dtype: str) -> keras.Sequential:
    hidden = layers.Dense(width, activation="relu", name=f"{prefix}hidden", dtype=dtype)
    out = layers.Dense(classes, name=f"{prefix}out", dtype=dtype)
    head = keras.Sequential([hidden, out])
    head.build((None, width))
    return head


class WithHead(keras.Model):
    """Any model, used as it is, whose last dense layer's input goes to a new head."""

    def __init__(self, model: keras.Model, width: int, classes: int) -> None:
        super().__init__(dtype=model.dtype_policy)
        self.model = model
        self.head = _head(width, classes, "", model.compute_dtype)

    def call(self, images: Tensor, training: bool | None = None) -> Any:
        """Return the logits of normalised `images` `(n, h, w, c)`; the model itself is always in evaluation mode."""
        with inputs_of(self.model, lambda layer: isinstance(layer, layers.Dense)) as calls:
            self.model(images, training=False)
        return self.head(calls[-1][1])
