"""Softmax regression: the model whose gradients the numpy oracle knows exactly."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn


def linear(classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
    """Make one linear layer on the flattened image."""
    h, w, c = image_shape
    return nn.Sequential(OrderedDict(flatten=nn.Flatten(), fc=nn.Linear(h * w * c, classes)))
