"""Loss and geometry in TensorFlow."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from sat_core.geometry import Geometry

from .numpy_code import Q
from .threat import kept

Tensor = Any


def generalized_cross_entropy(adversarial: Tensor, clean: Tensor | None, targets: Tensor, beta: Any) -> Tensor:
    """Return the loss of each member, `(m,)`."""
    powers = tf.exp(Q * tf.nn.log_softmax(adversarial))
    return tf.reduce_sum(targets * (1 - powers), axis=1) / Q


class L1Geometry(Geometry):
    """See `threat.L1Ball`."""

    name = "L1"

    def size(self, delta: Tensor) -> Tensor:
        return tf.reduce_sum(tf.abs(delta), axis=tuple(range(1, delta.shape.rank)), keepdims=True)

    def project(self, delta: Tensor, eps: Any) -> Tensor:
        # sums of a whole image in float32 would leave the ball by more than rounding
        flat = tf.cast(_flat(delta), tf.float64)
        descending = tf.sort(tf.abs(flat), axis=1, direction="DESCENDING")
        numbers = tf.range(1, flat.shape[1] + 1, dtype=flat.dtype)
        thresholds = (tf.cumsum(descending, axis=1) - tf.cast(eps, flat.dtype)) / numbers
        active = tf.reduce_sum(tf.cast(descending > thresholds, tf.int32), axis=1, keepdims=True)
        theta = tf.maximum(tf.gather(thresholds, tf.maximum(active, 1) - 1, batch_dims=1), 0)
        nearest = tf.sign(flat) * tf.maximum(tf.abs(flat) - theta, 0)
        return tf.cast(tf.reshape(nearest, tf.shape(delta)), delta.dtype)

    def ascent_direction(self, gradient: Tensor) -> Tensor:
        flat = _flat(gradient)
        least = tf.math.top_k(tf.abs(flat), kept(flat.shape[1])).values[:, -1:]
        signs = tf.sign(flat) * tf.cast(tf.abs(flat) >= least, flat.dtype)
        step = signs / (tf.reduce_sum(tf.abs(signs), axis=1, keepdims=True) + self.tiny)
        return tf.reshape(step, tf.shape(gradient))

    def start(self, cube: Tensor, length: Tensor, eps: Any) -> Tensor:
        return cube / (self.size(cube) + self.tiny) * (length * eps)


def _flat(x: Tensor) -> Tensor:
    return tf.reshape(x, [tf.shape(x)[0], math.prod(x.shape[1:])])
