"""Mean and standard deviation of images, with which a model normalises."""

from __future__ import annotations

import numpy as np

from sat_core.arrays import as_float

BLOCK = 1024
IMAGENET_MEAN: tuple[float, ...] = (0.485, 0.456, 0.406)
IMAGENET_STD: tuple[float, ...] = (0.229, 0.224, 0.225)
"""Mean and deviation of ImageNet that are in use (recipe, section 1.0)."""


def mean_and_std(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Per channel of images `(n, h, w, c)`, uint8 or float32, in units of [0, 1] pixels.

    Rounded to 6 decimals, so that machines agree. A channel that is the same everywhere gets 1 as its deviation.
    """
    blocks = [images[start : start + BLOCK] for start in range(0, len(images), BLOCK)]
    pixels = images[..., 0].size
    mean = sum(as_float(block).sum(axis=(0, 1, 2), dtype=np.float64) for block in blocks) / pixels
    squares = sum(((as_float(block) - mean) ** 2).sum(axis=(0, 1, 2)) for block in blocks) / pixels
    std = np.sqrt(squares).round(6)
    return tuple(mean.round(6).tolist()), tuple(np.where(std > 0, std, 1.0).tolist())
