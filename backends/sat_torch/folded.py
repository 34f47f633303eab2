"""Our networks as an attack sees them: BatchNorm in evaluation mode is affine, and the convolution before takes it in.

The same function but for rounding, with fewer passes over memory. On a CPU each convolution also keeps its weights in
the order in which the processor takes them, for all steps of an attack, and adds and clips as it writes.
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

from sat_torch.convolution import Convolution, Convolutions, affine, packs

_ADD = (operator.add, operator.iadd, torch.add)
_RELU = (torch.relu, functional.relu, "relu")


@final
class Folded:
    """One of our networks that is `as_built`, from normalised images to logits; with the weights of when it took them.

    A trace cannot know what else a user's may do: gradients of its own, branches, draws.
    retain_graph: allow repeated backward passes through the same logits.
    """

    def __init__(self, network: nn.Module, retain_graph: bool = False) -> None:
        self._graph = _fold(network)
        self._differentiable = _in_rows(self._graph, retain_graph)
        self._layers = [layer for layer in self._graph.modules() if isinstance(layer, Convolution | Affine)]

    def take(self) -> None:
        """Fold the weights as they are now."""
        with torch.no_grad():
            for layer in self._layers:
                layer.take()

    @contextmanager
    def current(self) -> Iterator[None]:
        """Take the weights of now, and free what that made afterwards."""
        try:
            self.take()
            yield
        finally:
            for layer in self._layers:
                layer.drop()

    def __call__(self, images: Tensor) -> Tensor:
        """Logits of normalised `images` `(n, c, h, w)`; ask for gradients over these only."""
        if packs(images) and images.requires_grad and torch.is_grad_enabled():
            return self._differentiable.forward(images)
        return self._graph.forward(images)


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_OF = ("torch.nn.modules.", "torchvision.models.resnet", "sat_torch.models.")


def as_built(network: nn.Module) -> bool:
    """Whether one of our networks has none but its own layers still, called as they were, and nobody listens to one."""
    layers = [*network.modules()]
    foreign = (not type(layer).__module__.startswith(_OF) or "forward" in vars(layer) for layer in layers)
    return not any(foreign) and not any(getattr(layer, hooks) for layer in layers for hooks in _HOOKS)


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
        self.scale, self.shift = (v[:, None, None] for v in affine(self.layers[0]))

    def drop(self) -> None:
        """Free what `take` made."""
        self.scale = self.shift = None

    def forward(self, x: Tensor) -> Tensor:
        """Normalised `x` `(n, c, h, w)`."""
        return torch.addcmul(self.shift, x, self.scale)


def _fold(network: nn.Module) -> fx.GraphModule:
    graph, layers = fx.Tracer().trace(network), dict(network.named_modules(remove_duplicate=False))
    used: dict[str, nn.Module] = {}
    gone: set[fx.Node] = set()

    def layer(node: fx.Node, kind: type[nn.Module]) -> Any:
        found = layers.get(str(node.target)) if node.op == "call_module" else None
        return found if type(found) is kind else None

    def convolution(node: fx.Node) -> Any:
        found = layer(node, nn.Conv2d)
        plain = found is not None and found.padding_mode == "zeros" and not isinstance(found.padding, str)
        return found if plain else None

    def batch_norm(node: fx.Node) -> Any:
        found = layer(node, nn.BatchNorm2d)
        return found if found is not None and found.affine and found.track_running_stats else None

    def follower(node: fx.Node) -> fx.Node | None:
        """What alone takes the value of `node`."""
        return next(iter(node.users)) if len(node.users) == 1 else None

    for node in list(graph.nodes):
        chain, others, relu = [node], [], False
        conv, norm = convolution(node), batch_norm(node)
        if node in gone or (conv is None and norm is None):
            continue
        if conv is not None:
            after = follower(chain[-1])
            if after is not None and (norm := batch_norm(after)) is not None:
                chain.append(after)
            after = follower(chain[-1])
            if after is not None and after.target in _ADD and len(after.all_input_nodes) == 2 and not after.kwargs:
                others = [other for other in after.all_input_nodes if other is not chain[-1]]
                chain.append(after)
            after = follower(chain[-1])
            if after is not None and (layer(after, nn.ReLU) if after.op == "call_module" else after.target in _RELU):
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
    return _module(graph, used, network)


def _in_rows(folded: fx.GraphModule, retain_graph: bool) -> fx.GraphModule:
    """The same with all convolutions that follow each other in one layer."""
    graph, layers = copy.deepcopy(folded.graph), dict(folded.named_modules(remove_duplicate=False))
    used: dict[str, nn.Module] = {}
    for folds, row in groupby([*graph.nodes], lambda node: isinstance(layers.get(str(node.target)), Convolution)):
        if not folds:
            continue
        nodes = [*row]
        apart = any(user not in nodes for node in nodes[:-1] for user in node.users)
        for part in [[node] for node in nodes] if apart else [nodes]:
            given = [*dict.fromkeys(other for node in part for other in node.args if other not in part)]
            values, name = [*given, *part], f"row_{len(used)}"
            steps = [(layers[str(node.target)], tuple(values.index(other) for other in node.args)) for node in part]
            used[name] = Convolutions(steps, retain_graph)
            with graph.inserting_after(part[-1]):
                part[-1].replace_all_uses_with(graph.call_module(name, tuple(given)))
            for node in reversed(part):
                graph.erase_node(node)
    return _module(graph, used, folded)


def _module(graph: fx.Graph, own: dict[str, nn.Module], others: nn.Module) -> fx.GraphModule:
    """What runs `graph`: layers of `own`, and for the other names those of `others`."""
    named = {str(node.target) for node in graph.nodes if node.op in ("call_module", "get_attr")} - {*own}
    return fx.GraphModule(own | {name: operator.attrgetter(name)(others) for name in named}, graph)
