"""torchvision's residual networks, fitted to our images."""

from __future__ import annotations

from torch import nn

from sat_torch.models.layers import Pooled


def resnet18(classes: int, channels: int) -> nn.Module:
    """Make ResNet-18 for 32x32 images: a 3x3 stem of stride 1 without pooling. 11,173,962 weights at 10 classes."""
    from torchvision.models import resnet18 as build

    model = build(num_classes=classes)
    model.conv1 = nn.Conv2d(channels, 64, 3, 1, 1, bias=False)
    model.maxpool, model.avgpool = nn.Identity(), Pooled()
    return model


def resnet50(classes: int, channels: int) -> nn.Module:
    """Make ResNet-50 as torchvision lays it out (stride on the 3x3 convolution), with a new last layer."""
    from torchvision.models import resnet50 as build

    model = build(num_classes=classes)
    model.avgpool = Pooled()
    if channels != 3:
        model.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
    return model
