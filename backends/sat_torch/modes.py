"""Running a module without changing it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients for weights inside; every layer's mode and every weight's flag as before after.

    BatchNorm uses its running statistics, and autograd keeps nothing that only weight gradients would need.
    """
    training = [m for m in module.modules() if m.training]
    learning = [p for p in module.parameters() if p.requires_grad]
    try:
        for layer in training:
            layer.training = False
        for parameter in learning:
            parameter.requires_grad_(False)
        yield
    finally:
        for layer in training:
            layer.training = True
        for parameter in learning:
            parameter.requires_grad_(True)


class Evaluated(nn.Module):
    """A module that runs frozen, whatever the mode of the one inside; float32 in and out, whatever its own type.

    run: what is called in its place, with the layers of `module`.
    """

    def __init__(self, module: nn.Module, dtype: torch.dtype, run: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.module, self._run = module, run
        self.dtype = dtype
        self.training = False

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(n, k)` of `images` `(n, c, h, w)`."""
        with frozen(self.module):
            return (self._run or self.module)(images.to(self.dtype)).float()
