"""Threat models on tensors; see `sat_core.threat` for the definitions."""

from __future__ import annotations

from typing import Protocol

import tensorflow as tf
from tensorflow import Tensor

from sat_core.threat import TINY


class Geometry(Protocol):
    """A norm's projection and ascent direction, on δ of shape `(n, h, w, c)`; `eps` is a scalar of its type."""

    def project(self, delta: Tensor, eps: Tensor) -> Tensor:
        """The nearest δ inside the ball."""

    def ascent_direction(self, gradient: Tensor) -> Tensor:
        """The step of norm 1 along which the loss rises fastest."""


class L2:
    """Euclidean ball."""

    def project(self, delta: Tensor, eps: Tensor) -> Tensor:
        return delta * tf.minimum(eps / (_size(delta) + TINY), 1)

    def ascent_direction(self, gradient: Tensor) -> Tensor:
        return gradient / (_size(gradient) + TINY)


class Linf:
    """Maximum-norm ball."""

    def project(self, delta: Tensor, eps: Tensor) -> Tensor:
        return tf.clip_by_value(delta, -eps, eps)

    def ascent_direction(self, gradient: Tensor) -> Tensor:
        return tf.sign(gradient)


def _size(delta: Tensor) -> Tensor:
    return tf.sqrt(tf.reduce_sum(delta * delta, axis=(1, 2, 3), keepdims=True))


GEOMETRIES: dict[str, Geometry] = {"L2": L2(), "Linf": Linf()}
