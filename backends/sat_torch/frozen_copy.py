"""A copy of a module that is only run and attacked: BatchNorm inside the convolutions, faster layout, fixed weights."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

_CLOSE = 1e-4
"""How far logits may be from the original's, as a share of the largest."""


class FrozenCopy(nn.Module):
    """`module` in evaluation mode, without gradients for weights; float32 in and out, whatever its own type."""

    def __init__(self, module: nn.Module, dtype: torch.dtype, layout: torch.memory_format) -> None:
        super().__init__()
        self.module = module.eval().requires_grad_(False).to(dtype).to(memory_format=layout)
        self.dtype, self.layout = dtype, layout
        self.training = False

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(n, k)` of `images` `(n, c, h, w)`."""
        return self.module(_Laid.apply(images.to(self.dtype), self.layout)).float()


def frozen_copy(module: nn.Module, dtype: torch.dtype, images: Tensor) -> FrozenCopy | None:
    """A copy of `module` that gives its logits in evaluation mode, up to rounding.

    A BatchNorm that takes what a convolution gives is affine in evaluation mode, y = s·x + t per channel, and becomes a
    part of that convolution. Which ones do, and that the copy is right, is found by running both on `images`.
    None if the module cannot be copied, nothing can be folded, or the logits of the copy are others.
    """
    if not any(isinstance(layer, nn.BatchNorm2d) for layer in module.modules()):
        return None
    try:
        twin = copy.deepcopy(module).eval()
    except Exception:  # a module of the user's may refuse in any way
        return None
    with torch.no_grad():
        expected = twin(images.to(dtype)).float()
        folded = [name for convolution, norm, name in _pairs(twin, images[:1].to(dtype)) if _fold(convolution, norm)]
        for name in folded:
            parent, _, last = name.rpartition(".")
            setattr(twin.get_submodule(parent), last, nn.Identity())
        layout = torch.channels_last if images.device.type == "cpu" else torch.contiguous_format
        made = FrozenCopy(twin, dtype, layout)
        off = (made(images) - expected).abs().max()
    return made if folded and bool(off <= _CLOSE * expected.abs().max()) else None


def _pairs(module: nn.Module, images: Tensor) -> list[tuple[nn.Conv2d, nn.BatchNorm2d, str]]:
    """Each convolution and the BatchNorm on its output, both called exactly once, and the name of the BatchNorm."""
    calls: list[nn.Module] = []
    sources: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    found: list[tuple[nn.Conv2d, nn.BatchNorm2d, str]] = []

    def after(layer: nn.Module, inputs: tuple[Any, ...], output: Any, name: str) -> None:
        calls.append(layer)
        if isinstance(layer, nn.Conv2d):
            sources[id(output)] = layer, output  # kept, so that no other tensor gets its number
        elif isinstance(layer, nn.BatchNorm2d) and id(inputs[0]) in sources:
            found.append((sources[id(inputs[0])][0], layer, name))

    hooks = [
        layer.register_forward_hook(lambda layer, inputs, output, name=name: after(layer, inputs, output, name))
        for name, layer in module.named_modules()
        if type(layer) in (nn.Conv2d, nn.BatchNorm2d)
    ]
    try:
        module(images)
    finally:
        for hook in hooks:
            hook.remove()
    taken = [convolution for convolution, _, _ in found]
    return [pair for pair in found if calls.count(pair[0]) == calls.count(pair[1]) == taken.count(pair[0]) == 1]


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> bool:
    """Put y = s·x + t of `norm` into weight and bias of `convolution`, computed in float64; False if it has none."""
    mean, var = norm.running_mean, norm.running_var
    if mean is None or var is None:
        return False
    weight, bias = convolution.weight, convolution.bias
    scale = (var.double() + norm.eps).rsqrt()
    if norm.affine:
        scale = scale * norm.weight.double()
    shift = ((0.0 if bias is None else bias.double()) - mean.double()) * scale
    if norm.affine:
        shift = shift + norm.bias.double()
    convolution.weight = nn.Parameter((weight.double() * scale.reshape(-1, 1, 1, 1)).to(weight))
    convolution.bias = nn.Parameter(shift.to(weight))
    return True


class _Laid(torch.autograd.Function):
    """Images in another memory layout; their gradient contiguous again, which is what attacks take."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, layout: torch.memory_format) -> Tensor:
        laid = images.contiguous(memory_format=layout)
        return laid.view_as(laid) if laid is images else laid

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.contiguous(), None
