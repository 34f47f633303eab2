"""A classifier's network as a differentiable module of PyTorch, which is what AutoAttack takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor, nn

from sat_torch.folded import Folded
from sat_torch.modes import frozen


@final
class Evaluated(nn.Module):
    """A module that runs frozen, whatever the mode of the one inside; float32 in and out, whatever its own type.

    Args:
        module: images `(n, c, h, w)` in [0, 1] to logits.
        dtype: type of the images that it gets.
        run: what is called in its place, with the layers of `module`.
    """

    def __init__(self, module: nn.Module, dtype: torch.dtype, run: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.module, self._run = module, run
        self.dtype = dtype
        self.training = False

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits `(n, k)` of `images` `(n, c, h, w)`."""
        with frozen(self.module):
            return (self._run or self.module)(images.to(self.dtype)).float()


def folded_module(
    module: nn.Module, network: nn.Module, prepare: Callable[[Tensor], Tensor], dtype: torch.dtype
) -> Evaluated:
    """Return `module` with BatchNorm folded into the convolutions, for many attacks with the weights as they are now.

    Args:
        module: images in [0, 1] to logits, on its device.
        network: what is inside of it, one of our networks that is `as_built`.
        prepare: what is in front of it.
        dtype: type of the images.
    """
    folded = Folded(network)
    folded.fold()
    return Evaluated(module, dtype, lambda images: folded(prepare(_ChannelsLast.apply(images))))


class _ChannelsLast(torch.autograd.Function):
    """Images in the memory layout that is faster; their gradient is contiguous, as attacks may call `view` on it."""

    @staticmethod
    def forward(ctx: Any, images: Tensor) -> Tensor:
        laid = images.contiguous(memory_format=torch.channels_last)
        return laid.view_as(laid) if laid is images else laid

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.contiguous()
