"""Scaling inside a network: images of any size become those that it was trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, final

import attrs
import numpy as np

from sat_core.errors import SpecError, quoted

INTERPOLATIONS = ("bilinear", "bicubic", "nearest")
"""Filters as Pillow's: but for "nearest", they widen when they reduce."""
SLACK = 2e-6
"""By how much clipping leaves values outside of [0, 1]. Sums are rounded, and a clip at exactly 1 would take the
gradient of white pixels away."""


def _pair(value: Any) -> tuple[int, int]:
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value, value)


@final
@attrs.frozen(kw_only=True)
class Scaling:
    """What happens to images `(n, h, w, c)` in [0, 1] in front of a network, and is differentiated with it.

    They are scaled to `size`, their centre of `crop` is cut out, one channel becomes `channels` equal ones, and `bgr`
    turns the order of channels round. Values
    stay in [0, 1] (within `SLACK`): a bicubic filter's overshoot is clipped, as where images are 8 bits.

    Args:
        size: Height and width after scaling. One number stands for both: images are squares for networks that scale,
            whatever they were.
        crop: Height and width of the centre that is kept; by default all of it.
        interpolation: One of `INTERPOLATIONS`.
        channels: Of what the network takes, where images have one; 0 for as many as they have.
        bgr: Whether the network takes blue first, as those of Caffe; mean and deviation are then in that order, too.

    Raises:
        SpecError: A value is wrong, or the crop is larger than the size.

    >>> Scaling(size=256, crop=224, interpolation="bicubic").crop
    (224, 224)
    """

    size: tuple[int, int] = attrs.field(converter=_pair)
    crop: tuple[int, int] = attrs.field(default=attrs.Factory(lambda self: self.size, takes_self=True), converter=_pair)
    interpolation: str = "bilinear"
    channels: int = 0
    bgr: bool = False

    def __attrs_post_init__(self) -> None:
        for name, pair in (("size", self.size), ("crop", self.crop)):
            if len(pair) != 2 or not all(isinstance(n, int) and n >= 1 for n in pair):
                raise SpecError(f"scaling: expected {name} as height and width in pixels, got {quoted(pair)}")
        if any(c > s for c, s in zip(self.crop, self.size, strict=True)):
            raise SpecError(f"scaling: expected a crop within {self.size}, got {self.crop}")
        if self.interpolation not in INTERPOLATIONS:
            raise SpecError(f"scaling: expected one of {', '.join(INTERPOLATIONS)}, got {quoted(self.interpolation)}")

    @property
    def overshoots(self) -> bool:
        """Whether the filter leaves [0, 1], so that its result is clipped."""
        return self.interpolation == "bicubic"

    def maps(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the linear maps that scale and crop images of that size.

        They are the same in every backend, and so is their gradient: the transposed maps.

        Returns:
            R, float64 `(crop height, height)`, and C `(crop width, width)`: a channel X becomes R X Cᵀ.
        """
        both = zip((height, width), self.size, self.crop, strict=True)
        rows, columns = (_centre(filter_weights(before, n, self.interpolation), kept) for before, n, kept in both)
        return rows, columns


def filter_weights(before: int, after: int, interpolation: str = "bilinear") -> np.ndarray:
    """Return the weights `(after, before)` of old pixels in new ones along one axis; each row adds up to 1.

    A filter lies around the centre of each new pixel. Enlarging, it is as wide as it is defined on old pixels and
    interpolates; reducing, it is that wide on new ones and averages, against aliasing.
    """
    scale = before / after
    centres = (np.arange(after) + 0.5) * scale
    if interpolation == "nearest":
        return (np.arange(before) == np.floor(centres)[:, None]).astype(np.float64)
    distance = np.abs(np.arange(before) + 0.5 - centres[:, None]) / max(scale, 1.0)
    weights = _FILTERS[interpolation](distance)
    return weights / weights.sum(axis=1, keepdims=True)


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.clip(1 - x, 0, None)


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys's cubic convolution with a = -1/2 (1981, equation 15), as in Pillow and PyTorch's antialias."""
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


_FILTERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"bilinear": _triangle, "bicubic": _cubic}


def _centre(rows: np.ndarray, kept: int) -> np.ndarray:
    first = round((len(rows) - kept) / 2)  # as torchvision and timm cut
    return rows[first : first + kept]
