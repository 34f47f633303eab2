"""Observations of what a model does with a few images; `sat_core.probe` judges them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf
from tensorflow import Tensor

from sat_core.errors import SpecError
from sat_core.probe import FIRST_LAYERS, Look
from sat_tensorflow.modes import inputs_of

if TYPE_CHECKING:
    from sat_tensorflow.classifier import TensorFlowClassifier


def look(classifier: TensorFlowClassifier, images: np.ndarray) -> Look:
    """Send images `(n, h, w, c)` through the classifier's model.

    No variable changes; only layers that are not built get their weights.
    """
    model = classifier.native
    with tf.device(classifier.device):
        x = tf.constant(images, classifier.dtype)
        if not all(layer.built for layer in model._flatten_layers()):  # a StatelessScope keeps no new variables
            classifier.evaluated(x)
        with (
            keras.StatelessScope(),
            inputs_of(model, _has_weights) as entered,
            tf.GradientTape(watch_accessed_variables=False) as tape,
        ):
            tape.watch(x)
            output = classifier.evaluated(x)
    real = isinstance(output, Tensor) and output.dtype.is_floating
    taken = [(layer, v) for layer, v in entered if isinstance(v, Tensor) and v.dtype.is_floating and len(v) == len(x)]
    for layer, value in taken[:1]:
        if getattr(layer, "data_format", "") == "channels_first" and value.shape == x.shape:
            raise SpecError(
                f"model: expected layers with channels last, got channels first in {layer.name!r}\n"
                'build it with data_format="channels_last"; image_data_format in keras.json is the default'
            )
    return Look(
        output=output,
        values=tf.cast(output, tf.float32).numpy() if real else None,
        entered=tuple((layer.name, tf.cast(value, tf.float32).numpy()) for layer, value in taken[:FIRST_LAYERS]),
        gradient=real and tape.gradient(output, x) is not None,
    )


def _has_weights(layer: keras.Layer) -> bool:
    """Innermost layers with weights, but for a normalisation of the images, which comes before the network itself."""
    own = bool(layer.weights) and not isinstance(layer, keras.layers.Normalization)
    return own and not [*layer._flatten_layers(include_self=False)]
