"""The images and classes that a network is built for, and what stands between them and the network itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, final

import attrs

from sat_core.arrays import channels_first
from sat_core.errors import SpecError
from sat_core.scaling import Scaling

if TYPE_CHECKING:
    from sat_core.data import DataSet


def _as_tuple(values: Any) -> tuple[Any, ...]:
    return tuple(values)


@final
@attrs.frozen
class InputSpec:
    """What a network takes and how many classes it tells apart.

    Args:
        classes: number of logits.
        image_shape: `(height, width, channels)` of an image.
        mean: per channel, in units of [0, 1] pixels; subtracted inside the model. Empty: no normalisation.
        std: per channel, in units of [0, 1] pixels; divided by after that. Empty: no normalisation.
        scaling: how images become those of the size that the network takes, before they are normalised; None if they
            are that already. It is inside the classifier, so ε stays in pixels of the image that is attacked.
        output: which part of what the network returns are its logits, see `sat_core.outputs.logits_in`; empty for the
            usual ones.

    Raises:
        SpecError: unless images are `(h, w, c)`, with as many means and deviations as channels, or none.

    >>> InputSpec(classes=10, image_shape=(8, 8, 1), mean=(0.3,), std=(0.4,)).to_dict()
    {'classes': 10, 'image_shape': (8, 8, 1), 'mean': (0.3,), 'std': (0.4,)}
    """

    classes: int
    # Tuples, because JSON gives lists, which are never equal to the tuples of a data set.
    image_shape: tuple[int, int, int] = attrs.field(converter=_as_tuple)
    mean: tuple[float, ...] = attrs.field(default=(), converter=_as_tuple)
    std: tuple[float, ...] = attrs.field(default=(), converter=_as_tuple)
    scaling: Scaling | None = None
    output: str = ""

    def __attrs_post_init__(self) -> None:
        shape, mean, std = self.image_shape, self.mean, self.std
        if len(shape) != 3 or min(shape) < 1 or channels_first(shape):
            raise SpecError(f"image_shape: expected (height, width, channels), got {shape}")
        channels = self.network_shape[2]
        if channels != shape[2] != 1:
            raise SpecError(f"scaling: expected images with one channel where it makes {channels}, got {shape[2]}")
        if bool(mean) != bool(std):
            raise SpecError(f"mean, std: give both: {'std' if mean else 'mean'} is missing")
        if len(mean) != len(std) or len(mean) not in (0, channels):
            raise SpecError(f"mean, std: expected none or one per channel ({channels}), got {mean} and {std}")

    @property
    def network_shape(self) -> tuple[int, int, int]:
        """`(height, width, channels)` of what the network takes."""
        if self.scaling is None:
            return self.image_shape
        return (*self.scaling.crop, self.scaling.channels or self.image_shape[2])

    @property
    def inner(self) -> InputSpec:
        """What the network itself takes, where nothing stands in front of it."""
        return InputSpec(self.classes, self.network_shape)

    @classmethod
    def of(cls, data: DataSet) -> InputSpec:
        """Return the inputs of a network that is trained on `data` and normalises with its statistics."""
        return cls(data.classes, data.image_shape, data.mean, data.std)

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> InputSpec:
        """Read what `to_dict` wrote, also from JSON; other keys are ignored. Raises SpecError, KeyError, TypeError."""
        scaling = description.get("scaling")
        return cls(
            description["classes"],
            description["image_shape"],
            description["mean"],
            description["std"],
            None if scaling is None else Scaling(**scaling),
            description.get("output", ""),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, as they stand in the description of a checkpoint; optional ones where given."""
        required = attrs.asdict(self, recurse=False, filter=attrs.filters.exclude("scaling", "output"))
        scaling = {} if self.scaling is None else {"scaling": attrs.asdict(self.scaling)}
        return {**required, **scaling, **({"output": self.output} if self.output else {})}
