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
        self.module = module.eval().requires_grad_(False).to(dtype=dtype, memory_format=layout)  # type: ignore[call-overload]
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
        pairs = _pairs(twin, images[:1].to(dtype))
        for convolution, name in pairs:
            _fold(twin.get_submodule(convolution), twin.get_submodule(name))
            parent, _, last = name.rpartition(".")
            setattr(twin.get_submodule(parent), last, nn.Identity())
        layout = torch.channels_last if images.device.type == "cpu" else torch.contiguous_format
        made = FrozenCopy(twin, dtype, layout)
        off = (made(images) - expected).abs().max()
    return made if pairs and bool(off <= _CLOSE * expected.abs().max()) else None


def _pairs(module: nn.Module, images: Tensor) -> list[tuple[str, str]]:
    """Names of each convolution and the BatchNorm on its output, both called exactly once."""
    calls: dict[str, int] = {}
    sources: dict[int, tuple[str, Tensor]] = {}
    found = []

    def after(name: str, layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        calls[name] = calls.get(name, 0) + 1
        if type(layer) is nn.Conv2d:
            sources[id(output)] = name, output
        elif id(inputs[0]) in sources:
            found.append((sources[id(inputs[0])][0], name))

    kinds = (nn.Conv2d, nn.BatchNorm2d)
    hooks = [
        layer.register_forward_hook(lambda layer, inputs, output, name=name: after(name, layer, inputs, output))
        for name, layer in module.named_modules(remove_duplicate=False)
        if type(layer) in kinds
    ]
    try:
        module(images)
    finally:
        for hook in hooks:
            hook.remove()
    taken = [convolution for convolution, _ in found]
    return [
        (convolution, norm)
        for convolution, norm in found
        if calls[convolution] == calls[norm] == taken.count(convolution) == 1
        and module.get_submodule(norm).running_var is not None
    ]


def _fold(convolution: nn.Module, norm: nn.Module) -> None:
    """Put y = s·x + t of `norm` into weight and bias of `convolution`, computed in float64."""
    weight, var = convolution.weight, norm.running_var.double()
    ones = torch.ones_like(var)
    scale = (ones if norm.weight is None else norm.weight.double()) / (var + norm.eps).sqrt()
    before = 0.0 if convolution.bias is None else convolution.bias.double()
    bias = (before - norm.running_mean.double()) * scale + (0.0 if norm.bias is None else norm.bias.double())
    convolution.weight = nn.Parameter((weight.double() * scale.reshape(-1, 1, 1, 1)).to(weight))
    convolution.bias = nn.Parameter(bias.to(weight))


class _Laid(torch.autograd.Function):
    """Images in another memory layout; their gradient contiguous again, which is what attacks take."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, layout: torch.memory_format) -> Tensor:
        laid = images.contiguous(memory_format=layout)
        return laid.view_as(laid) if laid is images else laid

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return gradient.contiguous(), None
