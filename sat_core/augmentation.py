"""Augmentation: every draw in numpy, every move of a pixel as one integer gather, the same in every backend.

The order is the recipe's: crop, flip, colour jitter, rotation (section 1.0). A gather of whole pixels gives the same
bits in every framework, where interpolation would not. The core draws, and turns draws into a few whole numbers per
image (`Moves`); the maps of all pixels are made of these where the images are, by the same lines in every framework.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, final

import attrs
import numpy as np

from sat_core.registry import Registry

Tensor = Any
"""A tensor of any framework, numpy included."""
BRIGHTNESS, CONTRAST, SATURATION = 0, 1, 2
"""Jitter operations, as in `Moves.integers`."""
GREY = (0.299, 0.587, 0.114)
"""Weights of R, G, B in luma (ITU-R 601), as Pillow's conversion to greyscale."""
# Columns of the draws: 0, 1 place the crop, 2 flips, 3 rotates, 4 to 6 are the jitter's factors, 7 to 9 their order.
# All are drawn whatever is switched on, so that a seed crops and flips alike under `crop-flip` and `cifar`.
_DRAWS = 10
_BITS = 14
_ONE = 1 << _BITS
"""1 in the fixed-point numbers of rotations."""
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

    def moves(self, draws: np.ndarray | None) -> Moves | None:
        """Turn what `draw` returned into numbers from which every framework makes the same maps; None of None."""
        if draws is None:
            return None
        side = 2 * self.crop + 1  # from -crop to crop, each offset alike
        angle = np.deg2rad((draws[..., 3] * 2 - 1) * self.rotation)
        integers = np.stack(
            [
                np.floor(draws[..., 0] * side) - self.crop,
                np.floor(draws[..., 1] * side) - self.crop,
                (draws[..., 2] < 0.5) & self.flip,
                np.rint(np.cos(angle) * _ONE),
                np.rint(np.sin(angle) * _ONE),
                # the order of three uniforms is a uniform order of three, as torchvision shuffles them
                *np.moveaxis(np.argsort(draws[..., 7:10], axis=-1), -1, 0),
            ],
            axis=-1,
        )
        factors = 1 + (draws[..., 4:7] * 2 - 1) * self.jitter
        return Moves(integers=integers.astype(np.int32), factors=factors.astype(np.float32))

    def apply(
        self,
        ops: MoveOps,
        images: Tensor,
        moves: Moves,
        size: Sequence[int],
        *,
        gather: Callable[[Tensor, Tensor], Tensor],
        jitter: Callable[[Tensor, Tensor, Tensor], Tensor],
    ) -> Tensor:
        """Crop, flip, jitter and rotate a batch, on the tensors of any framework.

        Args:
            ops: Of the framework.
            images: float, in [0, 1]; the layout is that of the two functions.
            moves: Of this batch, as tensors of the framework on the device of the images.
            size: height and width of the images.
            gather: takes images and source pixels `(n, h, w)` as `move_map` makes them.
            jitter: takes images, factors `(n, 3)` and operations `(n, 3)` in their order; see `Moves`.
        """
        integers = moves.integers
        if self.crop or self.flip:
            images = gather(images, move_map(ops, integers, *size))
        if self.jitter:
            images = jitter(images, moves.factors, integers[:, 5:])
        return gather(images, rotation_map(ops, integers, *size)) if self.rotation else images

    @property
    def active(self) -> bool:
        """Whether it does anything."""
        return bool(self.crop or self.flip or self.jitter or self.rotation or self.resized_crop)


@final
@attrs.frozen
class Moves:
    """What happens to each image of a batch, or of an epoch.

    Colour jitter blends an image with a dull one and clips to [0, 1]: x·f + d·(1 - f), where d is black for brightness,
    the mean grey of the image for contrast, and its own grey for saturation. Pillow truncates to whole numbers after
    each operation; this arithmetic does not, and differs by less than 4/255 (in the mean over pixels, less than 2/255).

    Args:
        integers: int32 `(…, 8)`: rows and columns by which the crop is moved; 1 where the image is mirrored; cosine
            and sine of the angle in units of 2^-14; the three operations of the jitter in their order.
        factors: float32 `(…, 3)`, for brightness, contrast and saturation.
    """

    integers: Tensor
    factors: Tensor

    def of(self, step: int) -> Moves:
        """Return those of one batch of the epoch."""
        return Moves(self.integers[step], self.factors[step])


class MoveOps(Protocol):
    """The tensor operations that index maps are made of, on integers of 32 bits."""

    def integer_range(self, n: int, like: Tensor) -> Tensor:
        """Return 0 … n - 1 on the device of `like`."""

    def shift(self, x: Tensor, bits: int) -> Tensor:
        """Return floor(x / 2^bits)."""

    def where(self, condition: Tensor, x: Any, y: Any) -> Tensor:
        """Return `x` where `condition` is true, else `y`."""


def move_map(ops: MoveOps, integers: Tensor, h: int, w: int) -> Tensor:
    """Return crop and flip as a gather.

    Returns:
        The source pixel row·w + column of each pixel, int32 `(n, h, w)`; h·w stands for zero.
    """
    rows = ops.integer_range(h, integers) + integers[:, :1]
    columns = ops.integer_range(w, integers)
    # Before the offset is added: the crop comes first, and what it has cut out is mirrored.
    columns = ops.where(integers[:, 2:3] > 0, w - 1 - columns, columns) + integers[:, 1:2]
    return _source(ops, rows[:, :, None], columns[:, None, :], h, w)


def rotation_map(ops: MoveOps, integers: Tensor, h: int, w: int) -> Tensor:
    """Return the rotation about the centre as a gather like `move_map`, with the nearest pixel of each."""
    # From the centres of pixels, or the image would move by half a pixel: y and x count half pixels from the middle.
    # The map goes from target to source, so the image turns the other way; angles are symmetric. In whole numbers, so
    # that no framework rounds to another pixel; 2^-14 of half of 224 pixels is 0.007.
    y = (ops.integer_range(h, integers) * 2 + (1 - h))[:, None]
    x = ops.integer_range(w, integers) * 2 + (1 - w)
    cos, sin = integers[:, 3][:, None, None], integers[:, 4][:, None, None]
    columns = ops.shift(cos * x - sin * y + w * _ONE, _BITS + 1)
    rows = ops.shift(sin * x + cos * y + h * _ONE, _BITS + 1)
    return _source(ops, rows, columns, h, w)


def _source(ops: MoveOps, rows: Tensor, columns: Tensor, h: int, w: int) -> Tensor:
    inside = (rows >= 0) & (rows < h) & (columns >= 0) & (columns < w)
    return ops.where(inside, rows * w + columns, h * w)


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


AUGMENTATIONS: Registry[Augmentation] = Registry("augmentation", "sat_core.augmentations", of=Augmentation)
for _augmentation in (
    Augmentation("none"),
    Augmentation("crop-flip", crop=4, flip=True),
    # As MadryLab's robustness, from where the authors took it; no hue (recipe, section 1.0).
    Augmentation("cifar", crop=4, flip=True, jitter=0.25, rotation=2.0),
    Augmentation("imagenet", resized_crop=True, flip=True, jitter=0.1, rotation=2.0),
):
    AUGMENTATIONS.register(_augmentation.name, _augmentation)
