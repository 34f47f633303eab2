"""A classifier's module for many attacks with the weights of now: folded, where that is the same function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sat_torch.folded import Folded
from sat_torch.modes import Evaluated, frozen

if TYPE_CHECKING:
    from sat_torch.classifier import Normalised

_CLOSE = (1e-4, 0.1)
"""How far logits and gradients may be from those of the module itself, as a share of them.

What is rounded to the other side of a ReLU's corner has another gradient.
"""


def attacked(module: Normalised, dtype: torch.dtype, images: Tensor) -> Evaluated:
    """`module` in evaluation mode, with BatchNorm inside the convolutions and the faster layout.

    `module` itself where there is nothing to fold, someone listens to its layers, or a trace of it is not the same
    function: a user's may branch, or draw. That is found by running both on `images` `(n, c, h, w)`, and back.
    """
    exact = Evaluated(module, dtype)
    if not any(isinstance(layer, nn.BatchNorm2d) for layer in module.modules()):
        return exact
    normalised = module.normaliser(dtype)
    layout = torch.channels_last if images.device.type == "cpu" else torch.contiguous_format
    try:
        with frozen(module):
            folded = Folded(module.inner, again=True)
        folded.take()
        made = Evaluated(module, dtype, lambda x: folded(normalised(_Laid.apply(x, layout))))
        same = all(
            bool((found - expected).norm() <= close * expected.norm())
            for found, expected, close in zip(_seen(made, images), _seen(exact, images), _CLOSE, strict=True)
        )
    except Exception:  # a user's module may fail in any way
        return exact
    return made if same and not folded.hooked else exact


def _seen(module: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits, and the gradient over `images` of the sum of their squares."""
    x = images.detach().requires_grad_()
    with torch.enable_grad():
        logits = module(x)
        (gradient,) = torch.autograd.grad(logits.square().sum(), x)
    return logits.detach(), gradient


class _Laid(torch.autograd.Function):
    """Images in another memory layout; their gradient contiguous again, which is what attacks take."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, layout: torch.memory_format) -> Tensor:
        laid = images.contiguous(memory_format=layout)
        return laid.view_as(laid) if laid is images else laid

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.contiguous(), None
