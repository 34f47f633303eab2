"""Augmentation: every draw in numpy, every move of a pixel as one integer gather, the same in every backend.

The order is the recipe's: crop, flip, colour jitter, rotation (section 1.0).
"""

from __future__ import annotations

from typing import final

import attrs
import numpy as np

from sat_core.registry import Registry

BRIGHTNESS, CONTRAST, SATURATION = 0, 1, 2
"""Jitter operations, as in `JitterPlan.order`."""
GREY = (0.299, 0.587, 0.114)
"""Weights of R, G, B in luma (ITU-R 601), as Pillow's conversion to greyscale."""
_DRAWS = 10


@final
@attrs.frozen
class Augmentation:
    """What happens to a training image. crop: padding with zeros in pixels; jitter: half width of the factors around 1;
    rotation: largest angle in degrees, nearest neighbour, zeros outside.
    """

    name: str
    crop: int = 0
    flip: bool = False
    jitter: float = 0.0
    rotation: float = 0.0

    def draw(self, rng: np.random.Generator, n: int) -> np.ndarray | None:
        """Uniforms in [0, 1) for `n` examples, float64 `(n, 10)`, knowing nothing of image size; None without any."""
        return rng.random((n, _DRAWS)) if self.crop or self.flip or self.jitter or self.rotation else None


@final
@attrs.frozen
class JitterPlan:
    """Colour jitter of a batch. factors: float32 `(n, 3)` for brightness, contrast, saturation. order: int64 `(n, 3)`,
    the operations in the order in which they are applied.

    Each blends the image with a dull one and clips to [0, 1]: x·f + d·(1 - f), where d is black for brightness, the
    mean grey of the image for contrast, and its own grey for saturation. Pillow truncates to whole numbers after each
    operation; this arithmetic does not, and differs by less than 4/255 (in the mean over pixels, less than 2/255).
    """

    factors: np.ndarray
    order: np.ndarray


def move_map(augmentation: Augmentation, draws: np.ndarray, h: int, w: int) -> np.ndarray:
    """Crop and flip as a gather: source pixel row·w + column of each pixel, int64 `(n, h, w)`; h·w stands for zero."""
    pad = augmentation.crop
    top = np.floor(draws[:, 0] * (2 * pad + 1)).astype(np.int64)
    left = np.floor(draws[:, 1] * (2 * pad + 1)).astype(np.int64)
    rows = np.arange(h) + (top - pad)[:, None]
    columns = np.broadcast_to(np.arange(w), (len(draws), w))
    if augmentation.flip:
        columns = np.where(draws[:, 2:3] < 0.5, columns[:, ::-1], columns)
    columns = columns + (left - pad)[:, None]
    return _gather(rows[:, :, None], columns[:, None, :], h, w)


def rotation_map(augmentation: Augmentation, draws: np.ndarray, h: int, w: int) -> np.ndarray | None:
    """Rotation about the centre as a gather like `move_map`; None where there is none."""
    if not augmentation.rotation:
        return None
    angle = np.deg2rad((draws[:, 3] * 2 - 1) * augmentation.rotation)[:, None, None]
    y, x = np.mgrid[:h, :w] + 0.5
    y, x = y - h / 2, x - w / 2
    cos, sin = np.cos(angle), np.sin(angle)
    columns = np.floor(cos * x - sin * y + w / 2).astype(np.int64)
    rows = np.floor(sin * x + cos * y + h / 2).astype(np.int64)
    return _gather(rows, columns, h, w)


def jitter_plan(augmentation: Augmentation, draws: np.ndarray) -> JitterPlan | None:
    """Factors and order of the colour jitter; None where there is none."""
    if not augmentation.jitter:
        return None
    factors = 1 + (draws[:, 4:7] * 2 - 1) * augmentation.jitter
    return JitterPlan(factors.astype(np.float32), np.argsort(draws[:, 7:10], axis=1))


def _gather(rows: np.ndarray, columns: np.ndarray, h: int, w: int) -> np.ndarray:
    inside = (rows >= 0) & (rows < h) & (columns >= 0) & (columns < w)
    return np.where(inside, rows * w + columns, h * w)


AUGMENTATIONS: Registry[Augmentation] = Registry("augmentation")
for _augmentation in (
    Augmentation("none"),
    Augmentation("crop-flip", crop=4, flip=True),
    Augmentation("cifar", crop=4, flip=True, jitter=0.25, rotation=2.0),
):
    AUGMENTATIONS.register(_augmentation.name, _augmentation)
