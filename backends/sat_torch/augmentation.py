"""Augmentation on tensors; `sat_core.augmentation` has the outline, the draws and the index maps."""

from __future__ import annotations

import torch
from torch import Tensor

from sat_core.augmentation import BRIGHTNESS, CONTRAST, GREY, Augmentation, Moves
from sat_torch.ops import OPS


def augment(images: Tensor, augmentation: Augmentation, moves: Moves) -> Tensor:
    """Crop, flip, jitter and rotate float images `(n, c, h, w)` in [0, 1] as `moves` say, which are tensors, too."""
    return augmentation.apply(OPS, images, moves, images.shape[2:], gather=_gather, jitter=_jitter)


def _gather(images: Tensor, source: Tensor) -> Tensor:
    n, c, h, w = images.shape
    padded = torch.nn.functional.pad(images.reshape(n, c, h * w), (0, 1))  # the pixel h·w is the zero outside
    index = source.long().reshape(n, 1, h * w).expand(n, c, h * w)  # gather takes int64 only
    return padded.gather(2, index).reshape(n, c, h, w)


def _jitter(images: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    factors, order = factors.to(images.dtype), order.long()
    # each image has an order of its own (recipe, section 1.0), so at each place the operations differ within the batch
    for place in range(order.shape[1]):
        images = _blend(images, factors, order[:, place])
    return images


def _blend(images: Tensor, factors: Tensor, operation: Tensor) -> Tensor:
    """One operation per image, chosen by `operation` `(n,)`: x·f + d·(1 - f) with d black, the mean grey, or grey."""
    f = factors.gather(1, operation[:, None])[:, :, None, None]
    # an image of one channel is its own grey, and saturation leaves it as it is
    grey = images
    if images.shape[1] == 3:
        grey = torch.einsum("nchw,c->nhw", images, images.new_tensor(GREY))[:, None]
    which = operation[:, None, None, None]
    dull = torch.where(which == CONTRAST, grey.mean(dim=(2, 3), keepdim=True), grey)
    dull = torch.where(which == BRIGHTNESS, torch.zeros_like(dull), dull)
    return (images * f + dull * (1 - f)).clamp(0, 1)
