"""How the networks of a library see images, by its own record, as the `InputSpec` that does the same."""

from __future__ import annotations

from typing import final

import attrs

from sat_core.errors import SpecError
from sat_core.input_spec import InputSpec
from sat_core.scaling import INTERPOLATIONS, Scaling
from sat_core.zoos import ZooName


@final
@attrs.frozen(kw_only=True)
class Record:
    """What a library writes down of a network and its weights.

    Args:
        size: height and width that the network takes.
        scaled: height and width to which images are scaled before their centre is cut out; by default `size`.
        interpolation: of that.
        mean: per channel, in units of [0, 1] pixels; empty if the network normalises by itself.
        std: per channel, in units of [0, 1] pixels.
        bgr: whether blue comes first.
        fixed: whether the network takes no other size, whatever its weights are.
        inside: whether the network normalises by itself what mean and deviation make, whatever its weights are.
    """

    size: tuple[int, int]
    scaled: tuple[int, int] | None = None
    interpolation: str = "bilinear"
    mean: tuple[float, ...]
    std: tuple[float, ...]
    bgr: bool = False
    fixed: bool = False
    inside: bool = False


def as_recorded(name: ZooName, inputs: InputSpec, record: Record, channels: int) -> tuple[InputSpec, str]:
    """Return what stands in front of a network, and the line that says what of it is the library's.

    The record holds for the library's weights. Without these, only what the network cannot do without is taken. Images
    that have the network's size are not scaled.

    Args:
        name: says whether the weights are the library's, and whether images are scaled to another size.
        inputs: images, and the normalisation for weights that are not the library's.
        record: what the library says.
        channels: how many the network takes.

    Raises:
        SpecError: Images have other channels, or the record names a filter that we do not have.
    """
    *before, c = inputs.image_shape
    if channels != c != 1:
        raise SpecError(f"model.name: {name} takes images with {channels} channels, got {c}")
    pretrained, scaling, told = name.pretrained, inputs.scaling, []
    interpolation = record.interpolation if pretrained else "bilinear"
    if interpolation not in INTERPOLATIONS:
        raise SpecError(f"model.name: the images of {name} are scaled by {interpolation!r}, which we do not have")
    size = scaled = (before[0], before[1])
    if name.size is not None:
        size = scaled = (name.size, name.size)
    elif (pretrained or record.fixed) and record.size != size:
        size = record.size
        scaled = (record.scaled or size) if pretrained else size
        crop = f", of which the centre of {size[0]} x {size[1]} is taken" if scaled != size else ""
        told.append(f"images scaled to {scaled[0]} x {scaled[1]} ({interpolation}){crop}")
    bgr = record.bgr and pretrained
    if (before[0], before[1]) != size or channels != c or bgr:
        more = channels if channels != c else 0
        scaling = Scaling(size=scaled, crop=size, interpolation=interpolation, channels=more, bgr=bgr)
    if pretrained or record.inside:
        mean, std = record.mean, record.std
        told += [f"mean ({_numbers(mean)}), deviation ({_numbers(std)})" + " of BGR" * bgr] if mean else []
    else:
        mean, std = (values * (channels // max(len(values), 1)) for values in (inputs.mean, inputs.std))
    line = f"{name}: from {name.zoo}'s record, inside the network: {'; '.join(told)}" if told else ""
    return attrs.evolve(inputs, mean=mean, std=std, scaling=scaling), line


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
