"""Our networks as an attack sees them: BatchNorm in evaluation mode is affine, and the convolution before takes it in.

The same function but for rounding, with fewer passes over memory. On a CPU each convolution also keeps its weights in
the order in which the processor takes them, for all steps of an attack, and adds and clips as it writes.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, final

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

_FEW = 16
"""Channels: a vector of the processor's."""
_OPERATORS = (
    "_convolution_pointwise",
    "_convolution_transpose_pointwise",
    "_reorder_convolution_weight",
    "_reorder_convolution_transpose_weight",
)
_ADD = (operator.add, operator.iadd, torch.add)
_RELU = (torch.relu, functional.relu, "relu")


@final
class Convolution(nn.Module):
    """relu(norm(conv(x)) + other) for images of any type; all but the convolution may be missing."""

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d | None, relu: bool) -> None:
        super().__init__()
        self.layers = (conv, norm)  # a tuple: they stay where they are
        self.relu = relu
        self.weight: Any = None
        self.bias: Tensor | None = None
        self.packed: dict[torch.Size, tuple[tuple[Any, ...], tuple[Any, ...]]] = {}

    def take(self) -> None:
        """Fold the weights as they are now."""
        conv, norm = self.layers
        self.weight, self.bias = conv.weight.detach(), None if conv.bias is None else conv.bias.detach()
        if norm is not None:
            scale, shift = _affine(norm)
            self.weight = self.weight * scale[:, None, None, None]
            self.bias = shift if self.bias is None else shift + self.bias * scale

    def pack(self, shape: torch.Size) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Arguments of oneDNN's convolution of images of that shape, and of the transposed one."""
        conv, ops = self.layers[0], torch.ops.mkldnn
        padding: Any = conv.padding  # numbers, in our networks
        how = (conv.stride, conv.dilation, conv.groups)
        sides = zip(shape[2:], conv.kernel_size, padding, conv.stride, conv.dilation, strict=True)
        spare = [(side + 2 * p - d * (k - 1) - 1) % s for side, k, p, s, d in sides]
        there = ops._reorder_convolution_weight(self.weight, padding, *how, shape)
        back = ops._reorder_convolution_transpose_weight(self.weight, padding, spare, *how)
        found = (there, self.bias, padding, *how), (back, None, padding, spare, *how)
        self.packed[shape] = found
        return found

    def drop(self) -> None:
        """Free what `take` made."""
        self.weight = self.bias = None
        self.packed.clear()

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """What comes of `x` `(n, c, h, w)`; gradients go to `x` and `other`."""
        if _packs(x):
            return _Packed.apply(x, other, self)
        conv = self.layers[0]
        y = functional.conv2d(x, self.weight, self.bias, conv.stride, conv.padding, conv.dilation, conv.groups)
        y = y if other is None else y + other
        return y.relu() if self.relu else y


class _Packed(torch.autograd.Function):
    """The same by oneDNN. The gradient over its images is a transposed convolution, or for few channels, with which
    oneDNN is slow, a product of matrices."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, other: Tensor | None, layer: Convolution) -> Tensor:
        there, back = layer.packed.get(x.shape) or layer.pack(x.shape)
        if other is None:
            y = torch.ops.mkldnn._convolution_pointwise(x, *there, "relu" if layer.relu else "none", [], "")
        else:
            y = torch.ops.mkldnn._convolution_pointwise(
                x, other, *there, "add", None, "relu" if layer.relu else None, [], ""
            )
        ctx.back, ctx.layer, ctx.sides = back, layer, x.shape[2:]
        ctx.save_for_backward(*([y] if layer.relu else []))
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        for y in ctx.saved_tensors:  # in its place: all that took y are done with it
            gradient = torch.ops.aten.threshold_backward.grad_input(gradient, y, 0, grad_input=y)
        conv, weight = ctx.layer.layers[0], ctx.layer.weight
        if conv.in_channels < _FEW:
            columns = weight.flatten(1).t() @ gradient.flatten(2)
            over_x = functional.fold(columns, ctx.sides, conv.kernel_size, conv.dilation, conv.padding, conv.stride)
        else:
            over_x = torch.ops.mkldnn._convolution_transpose_pointwise(gradient, *ctx.back, "none", [], "")
        return over_x, gradient if ctx.needs_input_grad[1] else None, None


@final
class Affine(nn.Module):
    """BatchNorm where no convolution is before it."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.layers = (norm,)
        self.scale: Any = None
        self.shift: Any = None

    def take(self) -> None:
        """See `Convolution.take`."""
        self.scale, self.shift = (v[:, None, None] for v in _affine(self.layers[0]))

    def drop(self) -> None:
        """Free what `take` made."""
        self.scale = self.shift = None

    def forward(self, x: Tensor) -> Tensor:
        """Normalised `x` `(n, c, h, w)`."""
        return torch.addcmul(self.shift, x, self.scale)


def _affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    scale = norm.weight.detach() / (variance + norm.eps).sqrt()
    return scale, norm.bias.detach() - mean * scale


def _packs(x: Tensor) -> bool:
    """Whether oneDNN computes on images like `x`."""
    return x.dtype == torch.float32 and x.device.type == "cpu" and _has_operators()


@cache
def _has_operators() -> bool:
    """They are PyTorch's own, for its compiler: where one of them is missing, convolutions are plain ones."""
    return torch._C._has_mkldnn and all(hasattr(torch.ops.mkldnn, name) for name in _OPERATORS)


@final
class Folded:
    """One of our networks, from normalised images to logits, folded; inside of `current` with the weights of then.

    It takes our own networks only: a trace cannot know what else a user's may do.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._graph = _fold(network)
        self._layers = [layer for layer in self._graph.modules() if isinstance(layer, Convolution | Affine)]

    @property
    def hooked(self) -> bool:
        """Whether someone listens to a layer, and should find it called."""
        kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
        return any(getattr(layer, kind) for layer in self._network.modules() for kind in kinds)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Fold the weights as they are now, and free what that made afterwards."""
        try:
            with torch.no_grad():
                for layer in self._layers:
                    layer.take()
            yield
        finally:
            for layer in self._layers:
                layer.drop()

    def __call__(self, images: Tensor) -> Tensor:
        """Logits of normalised `images` `(n, c, h, w)`; gradients go to these only."""
        return self._graph.forward(images)


def _fold(network: nn.Module) -> fx.GraphModule:
    graph, layers = fx.Tracer().trace(network), dict(network.named_modules())
    used: dict[str, nn.Module] = {}
    gone: set[fx.Node] = set()

    def layer(node: fx.Node, kind: type[nn.Module]) -> Any:
        found = layers.get(str(node.target)) if node.op == "call_module" else None
        return found if isinstance(found, kind) else None

    def follower(node: fx.Node) -> fx.Node | None:
        """What alone takes the value of `node`."""
        return next(iter(node.users)) if len(node.users) == 1 else None

    for node in list(graph.nodes):
        chain, others, relu = [node], [], False
        conv, norm = layer(node, nn.Conv2d), layer(node, nn.BatchNorm2d)
        if node in gone or (conv is None and norm is None):
            continue
        if conv is not None:
            after = follower(chain[-1])
            if after is not None and (norm := layer(after, nn.BatchNorm2d)) is not None:
                chain.append(after)
            after = follower(chain[-1])
            if after is not None and after.target in _ADD and len(after.all_input_nodes) == 2:
                others = [other for other in after.all_input_nodes if other is not chain[-1]]
                chain.append(after)
            after = follower(chain[-1])
            if after is not None and (layer(after, nn.ReLU) is not None or after.target in _RELU):
                relu = True
                chain.append(after)
        name = f"folded_{len(used)}"
        used[name] = Affine(norm) if conv is None else Convolution(conv, norm, relu)
        with graph.inserting_after(chain[-1]):
            made = graph.call_module(name, (node.args[0], *others))
        chain[-1].replace_all_uses_with(made)
        for folded in reversed(chain):
            graph.erase_node(folded)
        gone.update(chain)
    kept = {str(node.target) for node in graph.nodes if node.op == "call_module"} - {*used}
    return fx.GraphModule(used | {name: layers[name] for name in kept}, graph)
