"""The authors' network for CIFAR: a pre-activation ResNet-18 with wide stages (recipe, section 1.0)."""

from __future__ import annotations

from torch import Tensor, nn

from sat_core.reference.networks import WIDE_PREACT_BLOCKS as BLOCKS
from sat_torch.models.layers import pooled


class Block(nn.Module):
    """BatchNorm, ReLU, 3x3 twice, plus a bare 1x1 convolution of the raw input, even where shapes match."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, padding=1, bias=False)
        self.shortcut = nn.Conv2d(before, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output; the spatial size is divided by the stride."""
        inner = self.conv1(self.bn1(x).relu())
        return self.conv2(self.bn2(inner).relu()) + self.shortcut(x)


class WidePreActResNet18(nn.Module):
    """Stem 3x3 without normalisation, eight blocks, BatchNorm, ReLU, mean over pixels, linear layer."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, BLOCKS[0][0], 3, 1, padding=1, bias=False)
        self.blocks = nn.Sequential(*(Block(*sizes) for sizes in BLOCKS))
        self.bn = nn.BatchNorm2d(BLOCKS[-1][1])
        self.fc = nn.Linear(BLOCKS[-1][1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of normalised images `(n, c, h, w)`."""
        return self.fc(pooled(self.bn(self.blocks(self.conv(x))).relu()))


def wide_preact_resnet18(classes: int, channels: int) -> nn.Module:
    """Make the network: 21,333,834 weights at 10 classes and 21,380,004 at 100."""
    return WidePreActResNet18(classes, channels)
