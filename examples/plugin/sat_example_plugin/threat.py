"""The L1 ball, in numpy. This defines the norm; geometries of frameworks are compared with it."""

from __future__ import annotations

import math

import numpy as np

from sat_core.noise import uniforms
from sat_core.numpy_ops import NUMPY
from sat_core.threat import TINY, ThreatModel

SHARE = 0.05
"""Of the pixel values, how many a step of an attack changes."""


def kept(size: int) -> int:
    """Return how many of `size` pixel values a step changes."""
    return max(1, int(SHARE * size))


_FUNCTIONS = {
    "torch": "sat_example_plugin.torch_code:L1Geometry",
    "tensorflow": "sat_example_plugin.tensorflow_code:L1Geometry",
}


class L1Ball(ThreatModel):
    """Σ |δ_i| <= ε. Random start: direction of a cube-uniform draw, length r·ε, r uniform in [0, 1]."""

    name = "L1"
    eps = 12.0  # of CIFAR-10 in Croce & Hein 2021
    functions = _FUNCTIONS

    def size(self, delta: np.ndarray) -> np.ndarray:
        return np.abs(_flat(delta)).sum(axis=1)

    def project(self, delta: np.ndarray, eps: float) -> np.ndarray:
        """Return the nearest point of the ball: all |δ_i| fall by the same θ >= 0 (Duchi et al. 2008, Fig. 1)."""
        flat = _flat(delta)
        descending = -np.sort(-np.abs(flat), axis=1)
        thresholds = (descending.cumsum(axis=1) - eps) / np.arange(1, flat.shape[1] + 1)
        last = np.maximum((descending > thresholds).sum(axis=1, keepdims=True), 1) - 1
        theta = np.maximum(np.take_along_axis(thresholds, last, axis=1), 0)
        nearest = np.sign(flat) * np.maximum(np.abs(flat) - theta, 0)
        return nearest.reshape(delta.shape).astype(delta.dtype)

    def ascent_direction(self, gradient: np.ndarray) -> np.ndarray:
        """Return the signs of the greatest gradients, in equal parts (SLIDE, Tramèr & Boneh 2019).

        The steepest step changes one pixel value, so that an attack would need as many steps as it has to change.
        """
        flat = _flat(gradient)
        least = -np.sort(-np.abs(flat), axis=1)[:, kept(flat.shape[1]) - 1 :][:, :1]
        signs = np.sign(flat) * (np.abs(flat) >= least)
        step = signs / (np.abs(signs).sum(axis=1, keepdims=True) + TINY)
        return step.reshape(gradient.shape).astype(gradient.dtype)

    def start(self, keys: np.ndarray, shape: tuple[int, ...], eps: float) -> np.ndarray:
        drawn = uniforms(NUMPY, keys, math.prod(shape[1:]) + 1)
        cube = drawn[:, :-1] * 2 - 1
        length = drawn[:, -1:] * np.float32(eps)
        start: np.ndarray = cube / (np.abs(cube).sum(axis=1, keepdims=True) + np.float32(TINY)) * length
        return start.reshape(shape)

    def diameter(self, image_shape: tuple[int, ...] | None) -> float:
        return math.inf if image_shape is None else float(math.prod(image_shape))


def _flat(x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), math.prod(x.shape[1:])).astype(np.float64)


L1 = L1Ball()
