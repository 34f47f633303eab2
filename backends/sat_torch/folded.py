"""Our networks for attacks, with BatchNorm folded into the convolutions, in the type that the attack computes in.

In evaluation mode BatchNorm is affine with constants per channel, so that norm(conv(x, W)) = s·conv(x, W) + t =
conv(x, s·W) + t, with s = γ / √(σ² + ε) and t = β - μ·s. This is numerically equivalent up to rounding and makes fewer
passes over memory. Products are in the type of the weights and rounded once, to the type of the copy.

The network is traced by torch.fx once, and in its graph a layer of ours takes the place of each chain convolution →
BatchNorm → addition → ReLU, of each other BatchNorm, and of each linear layer.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from functools import cache
from typing import Any, final

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

_ADD = (operator.add, operator.iadd, torch.add)
_RELU = (torch.relu, functional.relu, "relu")


@final
class Folded:
    """A copy of one of our networks from normalised images to logits, with the weights of its last `fold`.

    Only for networks that are `as_built`: a trace does not see what else a user's may have, such as gradients of its
    own, branches or random draws.

    Args:
        network: is not changed; the copy reads its weights.
        dtype: what the copy computes in; None for the type of the weights.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype | None = None) -> None:
        self._dtype = dtype or next(network.parameters()).dtype
        self._graph = _fold(network, self._dtype)
        self._layers = [layer for layer in self._graph.modules() if isinstance(layer, _Layer)]

    @torch.no_grad()
    def fold(self) -> None:
        """Fold the weights as they are now.

        They are written to where they were before, and nothing waits for the device, so that a CUDA graph may hold it.
        """
        for layer in self._layers:
            layer.fold()

    def __call__(self, images: Tensor) -> Tensor:
        """Return the logits of normalised `images` `(n, c, h, w)`, in their type; take gradients over these only."""
        return self._graph(images.to(self._dtype)).to(images.dtype)


class _Layer(nn.Module, ABC):
    """A layer with constants of its own, which `fold` computes from those of the network's layers.

    Args:
        constants: their names, and their values at first, or None where there is none.
        dtype: of the copies.
    """

    def __init__(self, dtype: torch.dtype, **constants: Tensor | None) -> None:
        super().__init__()
        for name, value in constants.items():
            # channels last is faster on CPUs and GPUs
            layout = torch.channels_last if value is not None and value.ndim == 4 else torch.contiguous_format
            own = None if value is None else torch.empty_like(value, dtype=dtype, memory_format=layout)
            self.register_buffer(name, own, persistent=False)

    def fold(self) -> None:
        """Compute the constants from the weights as they are now."""
        for own, value in zip(self._buffers.values(), self.values(), strict=True):
            if own is not None and value is not None:
                own.copy_(value)

    @abstractmethod
    def values(self) -> tuple[Tensor | None, ...]:
        """Return the values of the constants, in the type of the weights."""


@final
class Convolution(_Layer):
    """relu(norm(conv(x)) + residual); all but the convolution may be missing."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d | None, relu: bool, dtype: torch.dtype) -> None:
        super().__init__(dtype, weight=conv.weight, bias=conv.bias if norm is None else norm.bias)
        self.layers = (conv, norm)  # in a tuple, so that they are not registered here and stay the network's
        self.relu = relu
        self._packed: Any = None

    def values(self) -> tuple[Tensor | None, ...]:
        conv, norm = self.layers
        if norm is None:
            return conv.weight, conv.bias
        scale, shift = affine(norm)
        return conv.weight * scale[:, None, None, None], shift if conv.bias is None else shift + conv.bias * scale

    def fold(self) -> None:
        super().fold()
        self._packed = None

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Return the output for `x` `(n, c, h, w)`."""
        if x.dtype == torch.float32 and x.device.type == "cpu" and not torch.is_grad_enabled() and _has_onednn():
            return self._on_onednn(x, residual)
        conv = self.layers[0]
        y = functional.conv2d(x, self.weight, self.bias, conv.stride, conv.padding, conv.dilation, conv.groups)
        # in place: the output is nobody else's yet, and gradients of a convolution do not need it
        y = y if residual is None else y.add_(residual)
        return y.relu_() if self.relu else y

    def _on_onednn(self, x: Tensor, residual: Tensor | None) -> Tensor:
        """Compute `forward` where nobody takes gradients, as in Square's thousands of queries of the same few images.

        PyTorch's own convolution brings its weights into oneDNN's layout in every call. With 8 images that is a seventh
        of the small CNN's time, with batches of a training nothing. So these are kept, for images of one shape.
        """
        conv, ops = self.layers[0], torch.ops.mkldnn
        how = conv.padding, conv.stride, conv.dilation, conv.groups
        if self._packed is None or self._packed[0] != x.shape:
            self._packed = x.shape, ops._reorder_convolution_weight(self.weight, *how, x.shape)
        arguments = self._packed[1], self.bias, *how
        # by their schemas the last arguments are activation, its scalars, algorithm; with a residual, before these, the
        # way in which it is joined and its factor
        if residual is None:
            return ops._convolution_pointwise(x, *arguments, "relu" if self.relu else "none", [], "")
        return ops._convolution_pointwise(x, residual, *arguments, "add", None, "relu" if self.relu else None, [], "")


@cache
def _has_onednn() -> bool:
    """The operators are internal to PyTorch, for its compiler: without them, convolutions are PyTorch's public ones."""
    names = ("_convolution_pointwise", "_reorder_convolution_weight")
    return torch._C._has_mkldnn and all(hasattr(torch.ops.mkldnn, name) for name in names)


@final
class Affine(_Layer):
    """BatchNorm where no convolution is before it, as at the beginning of a pre-activation block."""

    scale: Tensor
    shift: Tensor

    def __init__(self, norm: nn.BatchNorm2d, dtype: torch.dtype) -> None:
        super().__init__(dtype, scale=norm.weight, shift=norm.bias)
        self.layers = (norm,)

    def values(self) -> tuple[Tensor | None, ...]:
        return affine(self.layers[0])

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` `(n, c, h, w)`, normalised."""
        return torch.addcmul(self.shift[:, None, None], x, self.scale[:, None, None])


@final
class Linear(_Layer):
    """A linear layer, whose weights are rounded once per attack and not in each forward."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, linear: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__(dtype, weight=linear.weight, bias=linear.bias)
        self.layers = (linear,)

    def values(self) -> tuple[Tensor | None, ...]:
        return self.layers[0].weight, self.layers[0].bias

    def forward(self, x: Tensor) -> Tensor:
        """Return the output for `x` `(n, d)`."""
        return functional.linear(x, self.weight, self.bias)


def affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return scale and shift of a BatchNorm in evaluation mode, each `(c,)`."""
    mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    scale = norm.weight / (variance + norm.eps).sqrt()
    return scale, norm.bias - mean * scale


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_OURS = ("torch.nn.modules.", "torchvision.models.resnet", "sat_torch.models.")
"""Modules whose layers a trace sees through."""


def as_built(network: nn.Module) -> bool:
    """Tell whether one of our networks still is as we built it: no layer is replaced, patched or hooked."""
    layers = [*network.modules()]
    foreign = (not type(layer).__module__.startswith(_OURS) or "forward" in vars(layer) for layer in layers)
    return not any(foreign) and not hooked(network)


def hooked(network: nn.Module) -> bool:
    """Tell whether someone listens to a layer, and so expects it to be called, which copies and graphs do not do."""
    return any(getattr(layer, hooks) for layer in network.modules() for hooks in _HOOKS)


def _fold(network: nn.Module, dtype: torch.dtype) -> fx.GraphModule:
    graph, layers = fx.Tracer().trace(network), dict(network.named_modules(remove_duplicate=False))
    replacements: dict[str, nn.Module] = {}
    folded: set[fx.Node] = set()

    def layer(node: fx.Node, kind: type[nn.Module]) -> Any:
        module = layers.get(str(node.target)) if node.op == "call_module" else None
        # no subclasses, which may compute something else
        return module if type(module) is kind else None

    def convolution(node: fx.Node) -> Any:
        conv = layer(node, nn.Conv2d)  # oneDNN takes numbers of zeros as padding, no other kind
        plain = conv is not None and conv.padding_mode == "zeros" and not isinstance(conv.padding, str)
        return conv if plain else None

    def batch_norm(node: fx.Node) -> Any:
        norm = layer(node, nn.BatchNorm2d)
        # without running statistics it takes those of the batch in evaluation mode, too, which are no constants
        return norm if norm is not None and norm.affine and norm.track_running_stats else None

    def only_user(node: fx.Node) -> fx.Node | None:
        """The operation that alone takes the value of `node`: where two do, the value itself is needed, too."""
        return next(iter(node.users)) if len(node.users) == 1 else None

    for node in list(graph.nodes):
        chain, residuals, relu = [node], [], False
        conv, norm, linear = convolution(node), batch_norm(node), layer(node, nn.Linear)
        # the list of nodes is from before the first change, and still has those that a chain has taken
        if node in folded or (conv is None and norm is None and linear is None):
            continue
        if conv is not None:
            after = only_user(chain[-1])
            if after is not None and (norm := batch_norm(after)) is not None:
                chain.append(after)
            after = only_user(chain[-1])
            # two different nodes: x + x has one, and torch.add(x, y, alpha=…) has keywords
            if after is not None and after.target in _ADD and len(after.all_input_nodes) == 2 and not after.kwargs:
                residuals = [other for other in after.all_input_nodes if other is not chain[-1]]
                chain.append(after)
            after = only_user(chain[-1])
            if after is not None and (layer(after, nn.ReLU) if after.op == "call_module" else after.target in _RELU):
                relu = True
                chain.append(after)
        name = f"folded_{len(replacements)}"
        if linear is not None:
            replacements[name] = Linear(linear, dtype)
        else:
            replacements[name] = Affine(norm, dtype) if conv is None else Convolution(conv, norm, relu, dtype)
        # behind the last of the chain, where the residual has been computed in any case
        with graph.inserting_after(chain[-1]):
            call = graph.call_module(name, (node.args[0], *residuals))
        chain[-1].replace_all_uses_with(call)
        for replaced in reversed(chain):  # a node can be erased once no other uses it
            graph.erase_node(replaced)
        folded.update(chain)
    named = {str(node.target) for node in graph.nodes if node.op in ("call_module", "get_attr")} - {*replacements}
    others = {name: operator.attrgetter(name)(network) for name in named}
    return fx.GraphModule(replacements | others, graph)
