"""Our networks as an attack sees them: BatchNorm in evaluation mode is affine, and the convolution before takes it in.

The same function but for rounding, with fewer passes over memory. On a CPU each convolution also keeps its weights in
the order in which the processor takes them, for all steps of an attack, and adds and clips as it writes.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from sat_torch.convolution import Convolution, affine, packs

_ADD = (operator.add, operator.iadd, torch.add)
_RELU = (torch.relu, functional.relu, "relu")

Tape = list[tuple[fx.Node, Any, Callable[[Tensor], Any]]]
"""What was computed, in order: a node, those that it took, and the way from the gradient over it to theirs."""


@final
class Folded:
    """A network, from normalised images to logits, folded; with the weights of when it took them.

    Training takes our own networks only: a trace cannot know what else a user's may do. again: gradients may be asked
    for more than once of the same logits.
    """

    def __init__(self, network: nn.Module, again: bool = False) -> None:
        self._network, self.again = network, again
        self._graph = _fold(network)
        self._calls = {node: _call(node, self._graph) for node in self._graph.graph.nodes}
        self._layers = [layer for layer in self._graph.modules() if isinstance(layer, Convolution | Affine)]

    @property
    def hooked(self) -> bool:
        """Whether someone listens to a layer, and should find it called."""
        kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
        return any(getattr(layer, kind) for layer in self._network.modules() for kind in kinds)

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
        """Logits of normalised `images` `(n, c, h, w)`; gradients go to these only."""
        if packs(images) and images.requires_grad and torch.is_grad_enabled():
            return _Taped.apply(images, self)
        return self._graph.forward(images)

    def record(self, images: Tensor) -> tuple[Tensor, fx.Node, Tape]:
        """Logits, whose they are, and how to get back: convolutions know, the few other layers autograd does alone."""
        values: dict[fx.Node, Any] = {}
        tape: Tape = []
        for node in self._graph.graph.nodes:
            if node.op == "placeholder":
                values[node] = images
                continue
            if node.op == "output":
                return values[node.args[0]], node.args[0], tape
            call = self._calls[node]
            if isinstance(call, Convolution):
                y = call(*(values[argument] for argument in node.args))
                back = partial(call.back, y=y, packed=call.pack(values[node.args[0]].shape), again=self.again)
                tape.append((node, node.args, back))
            else:
                y = self._apart(node, values, tape)
            values[node] = y
        raise AssertionError("a graph has an output")

    def _apart(self, node: fx.Node, values: dict[fx.Node, Any], tape: Tape) -> Any:
        taken = [n for n in node.all_input_nodes if isinstance(values[n], Tensor) and values[n].is_floating_point()]
        leaves = {n: values[n].detach().requires_grad_() for n in taken}
        arguments = fx.node.map_arg((node.args, node.kwargs), lambda n: leaves[n] if n in leaves else values[n])
        with torch.enable_grad():
            y = self._calls[node](*arguments[0], **arguments[1])
        if taken and isinstance(y, Tensor) and y.requires_grad:
            back = partial(torch.autograd.grad, y, [*leaves.values()], retain_graph=self.again, allow_unused=True)
            tape.append((node, taken, back))
        return y.detach() if isinstance(y, Tensor) else y


class _Taped(torch.autograd.Function):
    """`Folded.record` for autograd, which then sees one operation."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, folded: Folded) -> Tensor:
        logits, ctx.last, ctx.tape = folded.record(images)
        ctx.again = folded.again
        return logits

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None]:
        tape, slopes = [*ctx.tape] if ctx.again else ctx.tape, {ctx.last: gradient}
        while tape:
            node, taken, back = tape.pop()
            slope = slopes.pop(node, None)
            for other, part in zip(taken, () if slope is None else back(slope), strict=False):
                if part is not None:
                    slopes[other] = slopes[other] + part if other in slopes else part
        return next((slope for node, slope in slopes.items() if node.op == "placeholder"), None), None


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


def _call(node: fx.Node, graph: fx.GraphModule) -> Any:
    """What `node` calls with its arguments."""
    name = str(node.target)
    if node.op == "call_module":
        return graph.get_submodule(name)
    if node.op == "get_attr":
        return lambda: operator.attrgetter(name)(graph)
    if node.op == "call_method":
        return lambda owner, *arguments, **named: getattr(owner, name)(*arguments, **named)
    return node.target


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
            if after is not None and after.target in _ADD and len(after.all_input_nodes) == 2:
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
    named = {str(node.target) for node in graph.nodes if node.op in ("call_module", "get_attr")} - {*used}
    return fx.GraphModule(used | {name: operator.attrgetter(name)(network) for name in named}, graph)
