"""A head for another task: one hidden layer and a linear one in place of the last layer (recipe, section 1.4)."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn


def put_head(module: nn.Module, last: str, classes: int) -> tuple[nn.Module, nn.Module]:
    """Put a new head in place of a network's last layer, and freeze all else.

    The hidden layer is as wide as the features `(n, d)` that the head takes.

    Args:
        module: is changed.
        last: name of its last linear layer; empty if it is nothing but that layer.
        classes: number of logits.

    Returns:
        The network with the head, and the head.
    """
    module.requires_grad_(False)
    old = module.get_submodule(last)
    assert isinstance(old, nn.Linear)  # noqa: S101
    width = old.in_features
    hidden, out = nn.Linear(width, width), nn.Linear(width, classes)
    # neither dropout nor BatchNorm, as in the authors' code
    head = nn.Sequential(OrderedDict(hidden=hidden, relu=nn.ReLU(), out=out)).to(old.weight)
    if not last:
        return head, head
    parent, _, name = last.rpartition(".")
    setattr(module.get_submodule(parent), name, head)
    return module, head
