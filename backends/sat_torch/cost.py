"""What a network costs, measured from any module; `sat_core.network_cost` says what is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from sat_core.errors import SpecError
from sat_core.network_cost import NetworkCost
from sat_torch.memory import kept_bytes
from sat_torch.modes import compiled, frozen


def measured(module: nn.Module, image: Tensor, last_input: Callable[[Tensor], tuple[str, Tensor]]) -> NetworkCost:
    """Send an image through a module, and count the products and what autograd keeps.

    It runs in evaluation mode, so that what dropout keeps is not counted; modes, weights and statistics stay as they
    are, and a network that draws numbers draws afterwards what it would have drawn.

    Args:
        module: images `(n, c, h, w)` in [0, 1] to logits.
        image: one, `(1, c, h, w)`.
        last_input: images to the name and the input of the last linear layer; SpecError if there is none.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng([image.device] if image.is_cuda else []))
        if compiled(module):  # as one operation, of which nothing could be counted
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(frozen(module))
        features = _features(last_input, image)
        stack.enter_context(_learning(module))
        with FlopCounterMode(display=False) as counter:
            module(image)
        kept = kept_bytes(module, image, in_float32=True)
    return NetworkCost(
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        forward_flops=counter.get_total_flops(),
        activation_bytes=kept,
        features=features,
    )


def _features(last_input: Callable[[Tensor], tuple[str, Tensor]], image: Tensor) -> int:
    try:
        with torch.no_grad():
            _, features = last_input(image)
    except SpecError:  # another layer makes the logits
        return 0
    return features.shape[1] if features.ndim == 2 else 0


@contextmanager
def _learning(module: nn.Module) -> Iterator[None]:
    """Inside of `frozen`: all weights want gradients, as in a training of all layers.

    Else a linear layer would not keep its input, and PyTorch's attention would be one operation that nobody counts.
    """
    weights = [p for p in module.parameters() if p.is_floating_point()]
    try:
        for weight in weights:
            weight.requires_grad_(True)
        with torch.enable_grad():
            yield
    finally:
        for weight in weights:
            weight.requires_grad_(False)
