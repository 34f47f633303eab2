"""Scaling in front of a network in numpy, with its gradient."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sat_core.input_spec import InputSpec
from sat_core.scaling import SLACK

Gradient = Callable[[np.ndarray], np.ndarray]
Front = Callable[[np.ndarray], tuple[np.ndarray, Gradient]]
"""Images `(n, h, w, c)` to scaled ones, and the function from the gradient over these to that over the images."""


def front(inputs: InputSpec) -> Front:
    """Return what scales images as `inputs` says; images as they are if it says nothing."""
    scaling = inputs.scaling
    if scaling is None:
        return lambda images: (images, lambda g: g)
    rows, columns = scaling.maps(*inputs.image_shape[:2])
    repeats = inputs.network_shape[2] // inputs.image_shape[2]

    def scaled(images: np.ndarray) -> tuple[np.ndarray, Gradient]:
        x = np.einsum("ih,nhwc,jw->nijc", rows, images, columns, optimize=True)
        kept = (x >= -SLACK) & (x <= 1 + SLACK) if scaling.overshoots else np.ones_like(x, bool)
        x = np.where(kept, x, x.clip(-SLACK, 1 + SLACK))

        def back(g: np.ndarray) -> np.ndarray:
            g = g[..., ::-1] if scaling.bgr else g
            g = g if repeats == 1 else g.sum(axis=3, keepdims=True)
            return np.einsum("ih,nijc,jw->nhwc", rows, g * kept, columns, optimize=True)

        x = np.repeat(x, repeats, axis=3)
        return x[..., ::-1] if scaling.bgr else x, back

    return scaled
