"""A head for another task: one hidden layer and a linear one in place of the last layer (recipe, section 1.4)."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn


def put_head(module: nn.Module, last: str, classes: int) -> tuple[nn.Module, nn.Module]:
    """`module` with a new head in place of its linear layer called `last`, all else frozen; and that head.

    The hidden layer is as wide as the features `(n, d)` that the head takes.
    """
    module.requires_grad_(False)
    old = module.get_submodule(last)
    assert isinstance(old, nn.Linear)  # noqa: S101
    width = old.in_features
    hidden, out = nn.Linear(width, width), nn.Linear(width, classes)
    head = nn.Sequential(OrderedDict(hidden=hidden, relu=nn.ReLU(), out=out)).to(old.weight)
    if not last:  # the module is nothing but its last layer
        return head, head
    parent, _, name = last.rpartition(".")
    setattr(module.get_submodule(parent), name, head)
    return module, head
