"""A classifier's module for many attacks with the weights of now: folded, if it is one of our networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sat_core.precision import HALF
from sat_torch.folded import Folded, as_built
from sat_torch.modes import Evaluated

if TYPE_CHECKING:
    from sat_torch.classifier import TorchClassifier


def attacked(classifier: TorchClassifier, again: bool) -> Evaluated:
    """The module in evaluation mode, with BatchNorm inside the convolutions and on a CPU in the faster layout.

    A user's module is attacked as it is. again: see `Folded`.
    """
    module, dtype, network = classifier.module, classifier.dtype, classifier.native
    if not classifier.description or classifier.precision in HALF or not as_built(network):
        return Evaluated(module, dtype)
    folded, normalised = Folded(network, again), module.normaliser(dtype)
    folded.take()
    layout = torch.channels_last if classifier.device.type == "cpu" else torch.contiguous_format
    return Evaluated(module, dtype, lambda images: folded(normalised(_Laid.apply(images, layout))))


class _Laid(torch.autograd.Function):
    """Images in another memory layout; their gradient contiguous again, which is what attacks take."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, layout: torch.memory_format) -> Tensor:
        laid = images.contiguous(memory_format=layout)
        return laid.view_as(laid) if laid is images else laid

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.contiguous(), None
