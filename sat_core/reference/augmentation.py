"""Augmentation of a batch, in numpy."""

from __future__ import annotations

import numpy as np

from sat_core.augmentation import (
    BRIGHTNESS,
    CONTRAST,
    GREY,
    Augmentation,
    Moves,
)
from sat_core.numpy_ops import NUMPY


def augment(images: np.ndarray, augmentation: Augmentation, moves: Moves | None) -> np.ndarray:
    """Crop, flip, jitter and rotate float images `(n, h, w, c)` in [0, 1] as `moves` say."""
    if moves is None:
        return images
    done: np.ndarray = augmentation.apply(NUMPY, images, moves, images.shape[1:3], gather=gather, jitter=jitter)
    return done


def gather(images: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Return the pixels of `images` at `source` `(n, h, w)`, as `sat_core.augmentation.move_map` makes it."""
    n, h, w, c = images.shape
    # The pixel behind the last one is zero; the index maps point there for what lies outside.
    padded = np.concatenate([images.reshape(n, h * w, c), np.zeros((n, 1, c), images.dtype)], axis=1)
    return padded[np.arange(n)[:, None, None], source]


def jitter(images: np.ndarray, factors: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Apply the colour jitter with `factors` and `order` of operations, each `(n, 3)`, image by image."""
    return np.stack([_jitter(image, *one) for image, *one in zip(images, factors, order, strict=True)])


def _jitter(image: np.ndarray, factors: np.ndarray, order: np.ndarray) -> np.ndarray:
    for operation in order:
        grey = image @ np.array(GREY, image.dtype)[:, None] if image.shape[-1] == 3 else image
        dull = 0.0 if operation == BRIGHTNESS else grey.mean() if operation == CONTRAST else grey
        image = np.clip(image * factors[operation] + dull * (1 - factors[operation]), 0, 1).astype(image.dtype)
    return image
