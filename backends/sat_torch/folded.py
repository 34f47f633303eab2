"""Our networks for attacks, with BatchNorm folded into the convolutions.

In evaluation mode BatchNorm is affine with constants per channel, so that norm(conv(x, W)) = s·conv(x, W) + t =
conv(x, s·W) + t, with s = γ / √(σ² + ε) and t = β - μ·s. This is numerically equivalent up to rounding and makes fewer
passes over memory. On a CPU each convolution also keeps its weights in oneDNN's own layout for all steps of an attack,
and adds the residual and clips as it writes; see `sat_torch.convolution`.

The network is traced by torch.fx once, and its graph is rewritten twice: `_fold` puts a `Convolution` in place of each
chain convolution → BatchNorm → addition → ReLU, and `_in_rows` puts consecutive ones into one operation for autograd.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Any, final

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from sat_torch.convolution import Affine, Convolution, Convolutions, on_onednn

_ADD = (operator.add, operator.iadd, torch.add)
_RELU = (torch.relu, functional.relu, "relu")


@final
class Folded:
    """A copy of one of our networks from normalised images to logits, with the weights of its last `fold`.

    Only for networks that are `as_built`: a trace does not see what else a user's may have, such as gradients of its
    own, branches or random draws.

    Args:
        network: is not changed; the copy reads its weights.
        retain_graph: allow repeated backward passes through the same logits.
    """

    def __init__(self, network: nn.Module, retain_graph: bool = False) -> None:
        # both graphs call the same layers, so that folding once serves both. Rows pay off only where autograd records
        self._graph = _fold(network)
        self._differentiable = _in_rows(self._graph, retain_graph)
        self._layers = [layer for layer in self._graph.modules() if isinstance(layer, Convolution | Affine)]

    def fold(self) -> None:
        """Fold the weights as they are now."""
        with torch.no_grad():
            for layer in self._layers:
                layer.fold()

    @contextmanager
    def current(self) -> Iterator[None]:
        """Fold the current weights; release them on exit."""
        try:
            self.fold()
            yield
        finally:
            for layer in self._layers:
                layer.release()

    def __call__(self, images: Tensor) -> Tensor:
        """Return the logits of normalised `images` `(n, c, h, w)`; take gradients over these only."""
        if on_onednn(images) and images.requires_grad and torch.is_grad_enabled():
            return self._differentiable.forward(images)
        return self._graph.forward(images)


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_OURS = ("torch.nn.modules.", "torchvision.models.resnet", "sat_torch.models.")
"""Modules whose layers a trace sees through."""


def as_built(network: nn.Module) -> bool:
    """Tell whether one of our networks still is as we built it: no layer is replaced, patched or hooked.

    Anyone who hooks a layer expects it to be called, which a folded copy does not do.
    """
    layers = [*network.modules()]
    foreign = (not type(layer).__module__.startswith(_OURS) or "forward" in vars(layer) for layer in layers)
    return not any(foreign) and not any(getattr(layer, hooks) for layer in layers for hooks in _HOOKS)


def _fold(network: nn.Module) -> fx.GraphModule:
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
        conv, norm = convolution(node), batch_norm(node)
        # the list of nodes is from before the first change, and still has those that a chain has taken
        if node in folded or (conv is None and norm is None):
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
        replacements[name] = Affine(norm) if conv is None else Convolution(conv, norm, relu)
        # behind the last of the chain, where the residual has been computed in any case
        with graph.inserting_after(chain[-1]):
            call = graph.call_module(name, (node.args[0], *residuals))
        chain[-1].replace_all_uses_with(call)
        for replaced in reversed(chain):  # a node can be erased once no other uses it
            graph.erase_node(replaced)
        folded.update(chain)
    return _module(graph, replacements, network)


def _in_rows(folded: fx.GraphModule, retain_graph: bool) -> fx.GraphModule:
    """The same network with each row of consecutive convolutions as one `Convolutions`.

    Rows end where something else is between two, such as pooling; where a value within a row is used outside, which
    one operation could not return, its convolutions stay single.
    """
    graph, layers = copy.deepcopy(folded.graph), dict(folded.named_modules(remove_duplicate=False))
    replacements: dict[str, nn.Module] = {}
    for is_row, row in groupby([*graph.nodes], lambda node: isinstance(layers.get(str(node.target)), Convolution)):
        if not is_row:
            continue
        nodes = [*row]
        used_outside = any(user not in nodes for node in nodes[:-1] for user in node.users)
        for part in [[node] for node in nodes] if used_outside else [nodes]:
            # each once: the input of a block is both an image and a residual
            inputs = [*dict.fromkeys(other for node in part for other in node.args if other not in part)]
            values, name = [*inputs, *part], f"row_{len(replacements)}"
            steps = [(layers[str(node.target)], tuple(values.index(other) for other in node.args)) for node in part]
            replacements[name] = Convolutions(steps, retain_graph)
            with graph.inserting_after(part[-1]):
                part[-1].replace_all_uses_with(graph.call_module(name, tuple(inputs)))
            for node in reversed(part):
                graph.erase_node(node)
    return _module(graph, replacements, folded)


def _module(graph: fx.Graph, own: dict[str, nn.Module], others: nn.Module) -> fx.GraphModule:
    """A module that runs `graph`, with layers of `own`, and for the other names those of `others`."""
    named = {str(node.target) for node in graph.nodes if node.op in ("call_module", "get_attr")} - {*own}
    return fx.GraphModule(own | {name: operator.attrgetter(name)(others) for name in named}, graph)
