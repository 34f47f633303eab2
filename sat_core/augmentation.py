"""Augmentation: every draw in numpy, every move of a pixel as one integer gather, the same in every backend.

The order is the recipe's: crop, flip, colour jitter, rotation (section 1.0). A gather of whole pixels gives the same
bits in every framework, where interpolation would not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import attrs
import numpy as np

from sat_core.registry import Registry

Tensor = Any
"""A tensor of any framework, numpy included."""
BRIGHTNESS, CONTRAST, SATURATION = 0, 1, 2
"""Jitter operations, as in `JitterPlan.order`."""
GREY = (0.299, 0.587, 0.114)
"""Weights of R, G, B in luma (ITU-R 601), as Pillow's conversion to greyscale."""
# Columns of the draws: 0, 1 place the crop, 2 flips, 3 rotates, 4 to 6 are the jitter's factors, 7 to 9 their order.
# All are drawn whatever is switched on, so that a seed crops and flips alike under `crop-flip` and `cifar`.
_DRAWS = 10
_TRIES = 10
"""Of a resized crop, which adds as many areas and as many aspect ratios to the draws."""
_AREA, _ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)
"""Share of the image's area and aspect ratio of a resized crop."""


@final
@attrs.frozen
class Augmentation:
    """What happens to a training image.

    Args:
        name: under which it is registered.
        crop: pixels of zeros on each side, from which a random crop of the image's size is taken.
        flip: mirror half of the images left to right.
        jitter: half width of the range of factors around 1, for brightness, contrast and saturation.
        rotation: largest angle in degrees; nearest neighbour, zeros outside.
        resized_crop: scale a random part of the image to the size that the network takes; done where images are
            decoded, instead of the test-time transform.
    """

    name: str
    crop: int = 0
    flip: bool = False
    jitter: float = 0.0
    rotation: float = 0.0
    resized_crop: bool = False

    def draw(self, rng: np.random.Generator, n: int) -> np.ndarray | None:
        """Draw uniforms in [0, 1) for `n` examples.

        They do not depend on the size of images, so that a seed means the same for every data set.

        Returns:
            float64 `(n, 10)`, or `(n, 30)` with a resized crop; None if this augmentation does nothing.
        """
        columns = _DRAWS + 2 * _TRIES if self.resized_crop else _DRAWS
        return rng.random((n, columns)) if self.active else None

    def apply(
        self,
        images: Tensor,
        draws: np.ndarray | None,
        size: Sequence[int],
        *,
        gather: Callable[[Tensor, np.ndarray], Tensor],
        jitter: Callable[[Tensor, JitterPlan], Tensor],
    ) -> Tensor:
        """Crop, flip, jitter and rotate a batch as `draws` say, on the tensors of any framework.

        Args:
            images: float, in [0, 1]; the layout is that of the two functions.
            draws: what `draw` returned for this batch.
            size: height and width of the images.
            gather: takes images and source pixels `(n, h, w)` as `move_map` makes them.
            jitter: takes images and a plan.
        """
        if draws is None:
            return images
        images = gather(images, move_map(self, draws, *size))
        plan = jitter_plan(self, draws)
        images = images if plan is None else jitter(images, plan)
        rotation = rotation_map(self, draws, *size)
        return images if rotation is None else gather(images, rotation)

    @property
    def active(self) -> bool:
        """Whether it does anything."""
        return bool(self.crop or self.flip or self.jitter or self.rotation or self.resized_crop)


@final
@attrs.frozen
class JitterPlan:
    """Colour jitter of a batch.

    Each operation blends the image with a dull one and clips to [0, 1]: x·f + d·(1 - f), where d is black for
    brightness, the mean grey of the image for contrast, and its own grey for saturation. Pillow truncates to whole
    numbers after each operation; this arithmetic does not, and differs by less than 4/255 (in the mean over pixels,
    less than 2/255).

    Args:
        factors: float32 `(n, 3)`, for brightness, contrast and saturation.
        order: int64 `(n, 3)`, the operations in the order in which they are applied.
    """

    factors: np.ndarray
    order: np.ndarray


def move_map(augmentation: Augmentation, draws: np.ndarray, h: int, w: int) -> np.ndarray:
    """Return crop and flip as a gather.

    Returns:
        The source pixel row·w + column of each pixel, int32 `(n, h, w)`; h·w stands for zero.
    """
    pad = augmentation.crop
    # From -pad to pad, each of 2·pad + 1 offsets alike.
    top = np.floor(draws[:, 0] * (2 * pad + 1)).astype(np.int32)
    left = np.floor(draws[:, 1] * (2 * pad + 1)).astype(np.int32)
    rows = np.arange(h, dtype=np.int32) + (top - pad)[:, None]
    columns = np.broadcast_to(np.arange(w, dtype=np.int32), (len(draws), w))
    if augmentation.flip:
        # Before the offset is added: the crop comes first, and what it has cut out is mirrored.
        columns = np.where(draws[:, 2:3] < 0.5, columns[:, ::-1], columns)
    columns = columns + (left - pad)[:, None]
    return _gather(rows[:, :, None], columns[:, None, :], h, w)


def crop_box(draws: np.ndarray, h: int, w: int) -> tuple[int, int, int, int]:
    """Choose the part of an image of `h` x `w` that a resized crop keeps.

    8 % to all of the area at an aspect ratio of 3/4 to 4/3: the first of ten tries that lies inside, else the largest
    central part of the nearest ratio (recipe, section 1.0: torchvision's RandomResizedCrop).

    Args:
        draws: uniforms of one image, `(30,)`.
        h: height of the image.
        w: width of the image.

    Returns:
        Top, left, height and width, in pixels.
    """
    areas = _AREA[0] + draws[_DRAWS : _DRAWS + _TRIES] * (_AREA[1] - _AREA[0])
    low, high = np.log(_ASPECT)
    # Uniform in the logarithm, so that 3/4 is as likely as 4/3.
    aspects = np.exp(low + draws[_DRAWS + _TRIES : _DRAWS + 2 * _TRIES] * (high - low))
    heights, widths = (np.rint(np.sqrt(h * w * areas * a)).astype(int) for a in (1 / aspects, aspects))
    fitting = np.flatnonzero((heights > 0) & (heights <= h) & (widths > 0) & (widths <= w))
    if fitting.size:
        height, width = int(heights[fitting[0]]), int(widths[fitting[0]])
        # The draws that place a padded crop: no augmentation has both.
        return int(draws[0] * (h - height + 1)), int(draws[1] * (w - width + 1)), height, width
    # At most one side is cut: the image is too wide, or too high, or neither.
    width, height = min(w, round(h * _ASPECT[1])), min(h, round(w / _ASPECT[0]))
    return (h - height) // 2, (w - width) // 2, height, width


def rotation_map(augmentation: Augmentation, draws: np.ndarray, h: int, w: int) -> np.ndarray | None:
    """Return the rotation about the centre as a gather like `move_map`; None where there is none."""
    if not augmentation.rotation:
        return None
    angle = np.deg2rad((draws[:, 3] * 2 - 1) * augmentation.rotation)[:, None, None]
    # From the centres of pixels, or the image would move by half a pixel. The map goes from target to source, so the
    # image turns the other way; angles are symmetric.
    y, x = (np.arange(h) + 0.5 - h / 2)[:, None], np.arange(w) + 0.5 - w / 2
    cos, sin = np.cos(angle), np.sin(angle)
    columns = np.floor(cos * x - sin * y + w / 2).astype(np.int32)
    rows = np.floor(sin * x + cos * y + h / 2).astype(np.int32)
    return _gather(rows, columns, h, w)


def jitter_plan(augmentation: Augmentation, draws: np.ndarray) -> JitterPlan | None:
    """Return factors and order of the colour jitter; None where there is none."""
    if not augmentation.jitter:
        return None
    factors = 1 + (draws[:, 4:7] * 2 - 1) * augmentation.jitter
    # The order of three uniforms is a uniform order of three, as torchvision shuffles them.
    return JitterPlan(factors.astype(np.float32), np.argsort(draws[:, 7:10], axis=1))


def _gather(rows: np.ndarray, columns: np.ndarray, h: int, w: int) -> np.ndarray:
    # int32 halves the maps, which are made for every batch and copied to the device.
    source = rows * np.int32(w) + columns
    source[~((rows >= 0) & (rows < h) & (columns >= 0) & (columns < w))] = h * w
    return source


AUGMENTATIONS: Registry[Augmentation] = Registry("augmentation")
for _augmentation in (
    Augmentation("none"),
    Augmentation("crop-flip", crop=4, flip=True),
    # As MadryLab's robustness, from where the authors took it; no hue (recipe, section 1.0).
    Augmentation("cifar", crop=4, flip=True, jitter=0.25, rotation=2.0),
    Augmentation("imagenet", resized_crop=True, flip=True, jitter=0.1, rotation=2.0),
):
    AUGMENTATIONS.register(_augmentation.name, _augmentation)
