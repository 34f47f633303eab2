"""Convolutions and what follows each, in evaluation mode: weights folded, and on a CPU packed for oneDNN."""

from __future__ import annotations

from functools import cache
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional

_FEW = 16
"""Channels: a vector of the processor's."""
_OPERATORS = (
    "_convolution_pointwise",
    "_convolution_transpose_pointwise",
    "_reorder_convolution_weight",
    "_reorder_convolution_transpose_weight",
)

Packed = tuple[torch.Size, tuple[Any, ...], tuple[Any, ...]]
"""A shape of images, and the arguments of oneDNN's convolution of these and of the transposed one."""


@final
class Convolution(nn.Module):
    """relu(norm(conv(x)) + other) for images of any type; all but the convolution may be missing."""

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d | None, relu: bool) -> None:
        super().__init__()
        self.layers = (conv, norm)  # a tuple: they stay where they are
        self.relu = relu
        self.weight: Any = None
        self.bias: Tensor | None = None
        self._packed: Packed | None = None

    def take(self) -> None:
        """Fold the weights as they are now."""
        conv, norm = self.layers
        self.weight, self.bias = conv.weight.detach(), None if conv.bias is None else conv.bias.detach()
        if norm is not None:
            scale, shift = affine(norm)
            self.weight = self.weight * scale[:, None, None, None]
            self.bias = shift if self.bias is None else shift + self.bias * scale

    def drop(self) -> None:
        """Free what `take` made."""
        self.weight = self.bias = self._packed = None

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """What comes of `x` `(n, c, h, w)`; where `packs(x)`, without a graph for gradients: see `Convolutions`."""
        if packs(x):
            return self.fused(self.pack(x.shape), x, other)
        conv = self.layers[0]
        y = functional.conv2d(x, self.weight, self.bias, conv.stride, conv.padding, conv.dilation, conv.groups)
        y = y if other is None else y + other
        return y.relu() if self.relu else y

    def fused(self, packed: Packed, x: Tensor, other: Tensor | None = None) -> Tensor:
        """`forward` where `packs(x)`."""
        convolved: Any = torch.ops.mkldnn._convolution_pointwise
        if other is None:
            return convolved(x, *packed[1], "relu" if self.relu else "none", [], "")
        return convolved(x, other, *packed[1], "add", None, "relu" if self.relu else None, [], "")

    def pack(self, shape: torch.Size) -> Packed:
        """For images of that shape; kept until there is another."""
        packed = self._packed
        if packed is not None and packed[0] == shape:
            return packed
        conv, ops = self.layers[0], torch.ops.mkldnn
        padding: Any = conv.padding  # numbers, or it would not be here
        how = (conv.stride, conv.dilation, conv.groups)
        sides = zip(shape[2:], conv.kernel_size, padding, conv.stride, conv.dilation, strict=True)
        spare = [(side + 2 * p - d * (k - 1) - 1) % s for side, k, p, s, d in sides]
        there = ops._reorder_convolution_weight(self.weight, padding, *how, shape)
        back = ops._reorder_convolution_transpose_weight(self.weight, padding, spare, *how)
        self._packed = packed = shape, (there, self.bias, padding, *how), (back, None, padding, spare, *how)
        return packed

    def back(self, gradient: Tensor, y: Tensor | None, packed: Packed, retain_graph: bool) -> tuple[Tensor, Tensor]:
        """From the gradient over `y`, what `forward` gave, those over its two arguments.

        y: where there is a ReLU; its memory is used unless `retain_graph`. The gradient over images is a transposed
        convolution, or for few channels, with which oneDNN is slow, a product of matrices.
        """
        if y is not None:  # all that took y are done with it
            gradient = gradient if gradient.stride() == y.stride() else torch.empty_like(y).copy_(gradient)
            into = torch.empty_like(y) if retain_graph else y
            gradient = torch.ops.aten.threshold_backward.grad_input(gradient, y, 0, grad_input=into)
        conv, (shape, _, back) = self.layers[0], packed
        if conv.in_channels >= _FEW or conv.groups > 1:
            return torch.ops.mkldnn._convolution_transpose_pointwise(gradient, *back, "none", [], ""), gradient
        columns = self.weight.flatten(1).t() @ gradient.flatten(2)
        sides = shape[2:], conv.kernel_size, conv.dilation, conv.padding, conv.stride
        return functional.fold(columns, *sides), gradient  # type: ignore[arg-type]


@final
class Convolutions(nn.Module):
    """Convolutions in a row, one operation for autograd, whose calls are a good part of a small network's time.

    steps: a convolution, and where its arguments are in a list of those that are given and those computed since. Only
    the last result is asked for. retain_graph: allow repeated backward passes.
    """

    def __init__(self, steps: list[tuple[Convolution, tuple[int, ...]]], retain_graph: bool) -> None:
        super().__init__()
        self.steps, self.retain_graph = steps, retain_graph

    def forward(self, *given: Tensor) -> Tensor:
        """The result for `given`, where `packs` is true of them."""
        return _Taped.apply(self, *given)


class _Taped(torch.autograd.Function):
    """The tape: per step what its way back needs, the result if it was clipped and packed weights."""

    @staticmethod
    def forward(ctx: Any, owner: Convolutions, *given: Tensor) -> Tensor:
        values, ctx.owner, ctx.given, ctx.tape = [*given], owner, len(given), []
        for layer, places in owner.steps:
            packed = layer.pack(values[places[0]].shape)
            y = layer.fused(packed, *(values[place] for place in places))
            values.append(y)
            ctx.tape.append((y.detach() if layer.relu else None, packed))
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        owner, tape = ctx.owner, ctx.tape
        if not tape:
            raise RuntimeError(
                "gradients of these logits were asked for before; take attacked_torch_module(retain_graph=True)"
            )
        slopes: list[Tensor | None] = [*[None] * (ctx.given + len(owner.steps) - 1), gradient]
        for number in reversed(range(len(owner.steps))):
            (layer, places), slope = owner.steps[number], slopes.pop()
            y, packed = tape[number] if owner.retain_graph else tape.pop()  # and its memory is free
            parts = () if slope is None else layer.back(slope, y, packed, owner.retain_graph)
            for place, part in zip(places, parts, strict=False):
                before = slopes[place]
                slopes[place] = part if before is None else before + part
        return None, *slopes


def affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Scale and shift of a BatchNorm in evaluation mode, each `(c,)`."""
    mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    scale = norm.weight.detach() / (variance + norm.eps).sqrt()
    return scale, norm.bias.detach() - mean * scale


def packs(x: Tensor) -> bool:
    """Whether oneDNN computes on images like `x`."""
    return x.dtype == torch.float32 and x.device.type == "cpu" and _has_operators()


@cache
def _has_operators() -> bool:
    """They are PyTorch's own, for its compiler: where one of them is missing, convolutions are plain ones."""
    return torch._C._has_mkldnn and all(hasattr(torch.ops.mkldnn, name) for name in _OPERATORS)
