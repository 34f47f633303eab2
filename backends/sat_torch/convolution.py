"""Convolutions in evaluation mode with what follows each folded in, and on a CPU run by oneDNN with packed weights.

On a CPU in float32 we call the operators that PyTorch's compiler (TorchInductor) uses: a convolution that adds a
residual and clips as it writes, with weights that were put into oneDNN's blocked layout once. `nn.Conv2d` repacks its
weights in every call, which matters where an attack makes many calls with the same ones.
"""

from __future__ import annotations

from functools import cache
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional

_FEW = 16
"""Channels of float32 that fill a vector of 512 bits; with fewer, oneDNN's transposed convolution is slow."""
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
    """relu(norm(conv(x)) + residual) for images of any type; all but the convolution may be missing."""

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d | None, relu: bool) -> None:
        super().__init__()
        self.layers = (conv, norm)  # in a tuple, so that they are not registered here and stay the network's
        self.relu = relu
        self.weight: Any = None
        self.bias: Tensor | None = None
        self._packed: Packed | None = None

    def fold(self) -> None:
        """Fold the weights as they are now."""
        conv, norm = self.layers
        self.weight, self.bias = conv.weight.detach(), None if conv.bias is None else conv.bias.detach()
        if norm is not None:
            scale, shift = affine(norm)
            self.weight = self.weight * scale[:, None, None, None]
            self.bias = shift if self.bias is None else shift + self.bias * scale

    def release(self) -> None:
        """Free what `fold` and `pack` made."""
        self.weight = self.bias = self._packed = None

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Return the output for `x` `(n, c, h, w)`.

        Where `on_onednn(x)`, autograd does not see it; `Convolutions` has the gradients.
        """
        if on_onednn(x):
            return self.fused(self.pack(x.shape), x, residual)
        conv = self.layers[0]
        y = functional.conv2d(x, self.weight, self.bias, conv.stride, conv.padding, conv.dilation, conv.groups)
        y = y if residual is None else y + residual
        return y.relu() if self.relu else y

    def fused(self, packed: Packed, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Compute `forward` where `on_onednn(x)`."""
        # by their schemas the last arguments are activation, its scalars, algorithm; with a residual, before these, the
        # way in which it is joined and its factor
        convolved: Any = torch.ops.mkldnn._convolution_pointwise
        if residual is None:
            return convolved(x, *packed[1], "relu" if self.relu else "none", [], "")
        return convolved(x, residual, *packed[1], "add", None, "relu" if self.relu else None, [], "")

    def pack(self, shape: torch.Size) -> Packed:
        """Return the weights in oneDNN's layout for images of that shape; kept until another shape comes."""
        packed = self._packed
        if packed is not None and packed[0] == shape:
            return packed
        conv, ops = self.layers[0], torch.ops.mkldnn
        padding: Any = conv.padding  # numbers: `sat_torch.folded` leaves other convolutions as they are
        how = (conv.stride, conv.dilation, conv.groups)
        sides = zip(shape[2:], conv.kernel_size, padding, conv.stride, conv.dilation, strict=True)
        # rows and columns at the end that no window reaches, because of the stride: the transposed convolution has to
        # be told of them, or its result is that much smaller than the images
        spare = [(side + 2 * p - d * (k - 1) - 1) % s for side, k, p, s, d in sides]
        forward_weight = ops._reorder_convolution_weight(self.weight, padding, *how, shape)
        backward_weight = ops._reorder_convolution_transpose_weight(self.weight, padding, spare, *how)
        arguments = (forward_weight, self.bias, padding, *how), (backward_weight, None, padding, spare, *how)
        self._packed = packed = shape, *arguments
        return packed

    def gradients(
        self, gradient: Tensor, y: Tensor | None, packed: Packed, retain_graph: bool
    ) -> tuple[Tensor, Tensor]:
        """Compute the gradients over `x` and `residual` from the gradient over the output.

        The gradient over images is a transposed convolution, or where images have few channels a product of matrices,
        which is faster there.

        Args:
            gradient: over the output.
            y: the output, where there is a ReLU; its memory is overwritten unless `retain_graph`.
            packed: of the forward pass.
            retain_graph: whether there may be another backward pass.
        """
        if y is not None:
            # in the layout of y, in which the convolution computes
            gradient = gradient if gradient.stride() == y.stride() else torch.empty_like(y).copy_(gradient)
            # all that took y are done with it by now, so that no memory has to be fetched for the result
            into = torch.empty_like(y) if retain_graph else y
            # a ReLU's output is positive where its input was, so nothing but the output has to be kept
            gradient = torch.ops.aten.threshold_backward.grad_input(gradient, y, 0, grad_input=into)
        conv, (shape, _, backward) = self.layers[0], packed
        if conv.in_channels >= _FEW or conv.groups > 1:
            return torch.ops.mkldnn._convolution_transpose_pointwise(gradient, *backward, "none", [], ""), gradient
        columns = self.weight.flatten(1).t() @ gradient.flatten(2)
        sides = shape[2:], conv.kernel_size, conv.dilation, conv.padding, conv.stride
        return functional.fold(columns, *sides), gradient  # type: ignore[arg-type]


@final
class Convolutions(nn.Module):
    """Consecutive convolutions as one operation of autograd.

    Recording and calling each alone would be a good part of a small network's time.

    Args:
        steps: each a convolution, and the places of its arguments in the list of the inputs and the outputs by then.
            Only the last output is returned.
        retain_graph: allow repeated backward passes; the memory of each step is then kept until the end.
    """

    def __init__(self, steps: list[tuple[Convolution, tuple[int, ...]]], retain_graph: bool) -> None:
        super().__init__()
        self.steps, self.retain_graph = steps, retain_graph

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the last output for `inputs`, where `on_onednn` is true of them."""
        return _Taped.apply(self, *inputs)


class _Taped(torch.autograd.Function):
    """The tape has for each step what its backward pass needs: the output if it was clipped, and packed weights."""

    @staticmethod
    def forward(ctx: Any, owner: Convolutions, *inputs: Tensor) -> Tensor:
        # a list of our own instead of save_for_backward, which would hold all of it until the backward pass is over
        values, ctx.owner, ctx.inputs, ctx.tape = [*inputs], owner, len(inputs), []
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
        # one place per value, in the order in which they were made: the last is always the output of the step at hand
        slopes: list[Tensor | None] = [*[None] * (ctx.inputs + len(owner.steps) - 1), gradient]
        for number in reversed(range(len(owner.steps))):
            (layer, places), slope = owner.steps[number], slopes.pop()
            y, packed = tape[number] if owner.retain_graph else tape.pop()  # which frees the memory
            parts = () if slope is None else layer.gradients(slope, y, packed, owner.retain_graph)
            for place, part in zip(places, parts, strict=False):  # a convolution without residual has one argument
                before = slopes[place]
                # not in place: without a ReLU a residual's slope is the very tensor that autograd has handed in
                slopes[place] = part if before is None else before + part
        return None, *slopes


@final
class Affine(nn.Module):
    """BatchNorm where no convolution is before it, as at the beginning of a pre-activation block."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.layers = (norm,)
        self.scale: Any = None
        self.shift: Any = None

    def fold(self) -> None:
        """See `Convolution.fold`."""
        self.scale, self.shift = (v[:, None, None] for v in affine(self.layers[0]))

    def release(self) -> None:
        """Free what `fold` made."""
        self.scale = self.shift = None

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` `(n, c, h, w)`, normalised."""
        return torch.addcmul(self.shift, x, self.scale)


def affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return scale and shift of a BatchNorm in evaluation mode, each `(c,)`."""
    mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    scale = norm.weight.detach() / (variance + norm.eps).sqrt()
    return scale, norm.bias.detach() - mean * scale


def on_onednn(x: Tensor) -> bool:
    """Tell whether oneDNN computes on images like `x`."""
    return x.dtype == torch.float32 and x.device.type == "cpu" and _has_operators()


@cache
def _has_operators() -> bool:
    """They are internal to PyTorch, for its compiler: where one is missing, convolutions are PyTorch's public ones."""
    return torch._C._has_mkldnn and all(hasattr(torch.ops.mkldnn, name) for name in _OPERATORS)
