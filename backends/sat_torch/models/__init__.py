"""Networks by name: each takes the number of classes and of image channels and ends in a linear layer."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from sat_torch.models.linear import linear
from sat_torch.models.preact_resnet18 import wide_preact_resnet18
from sat_torch.models.resnet import resnet18, resnet50
from sat_torch.models.small_cnn import SmallCNN

MODELS: dict[str, Callable[[int, tuple[int, int, int]], nn.Module]] = {
    "small-cnn": lambda classes, shape: SmallCNN(classes, shape[2]),
    "resnet18": lambda classes, shape: resnet18(classes, shape[2]),
    "wide-preact-resnet18": lambda classes, shape: wide_preact_resnet18(classes, shape[2]),
    "resnet50": lambda classes, shape: resnet50(classes, shape[2]),
    "linear": linear,
}
"""Name to a function of the number of classes and the shape `(h, w, c)` of an image."""
