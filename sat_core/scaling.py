"""Scaling inside a network: images of any size become those that it was trained on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, final

import attrs

from sat_core.errors import SpecError, quoted

INTERPOLATIONS = ("bilinear", "bicubic", "nearest")
"""Filters, which widen when they reduce, as Pillow's do."""


def _pair(value: Any) -> tuple[int, int]:
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value, value)


@final
@attrs.frozen(kw_only=True)
class Scaling:
    """What happens to images `(n, h, w, c)` in [0, 1] in front of a network, and is differentiated with it.

    They are scaled to `size`, their centre of `crop` is cut out, and one channel becomes `channels` equal ones. Values
    stay in [0, 1]: a bicubic filter's overshoot is clipped, as where images are 8 bits.

    Args:
        size: Height and width after scaling. One number stands for both: images are squares for networks that scale,
            whatever they were.
        crop: Height and width of the centre that is kept; by default all of it.
        interpolation: One of `INTERPOLATIONS`.
        channels: Of what the network takes, where images have one; 0 for as many as they have.

    Raises:
        SpecError: A value is wrong, or the crop is larger than the size.

    >>> Scaling(size=256, crop=224, interpolation="bicubic").crop
    (224, 224)
    """

    size: tuple[int, int] = attrs.field(converter=_pair)
    crop: tuple[int, int] = attrs.field(default=attrs.Factory(lambda self: self.size, takes_self=True), converter=_pair)
    interpolation: str = "bilinear"
    channels: int = 0

    def __attrs_post_init__(self) -> None:
        for name, pair in (("size", self.size), ("crop", self.crop)):
            if len(pair) != 2 or not all(isinstance(n, int) and n >= 1 for n in pair):
                raise SpecError(f"scaling: expected {name} as height and width in pixels, got {quoted(pair)}")
        if any(c > s for c, s in zip(self.crop, self.size, strict=True)):
            raise SpecError(f"scaling: expected a crop within {self.size}, got {self.crop}")
        if self.interpolation not in INTERPOLATIONS:
            raise SpecError(f"scaling: expected one of {', '.join(INTERPOLATIONS)}, got {quoted(self.interpolation)}")
