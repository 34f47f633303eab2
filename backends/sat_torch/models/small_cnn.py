"""The small CNN; `sat_core.reference.networks` has its oracle."""

from __future__ import annotations

from torch import Tensor, nn

from sat_core.reference.networks import STRIDES, WIDTHS
from sat_torch.models.layers import pooled


class SmallCNN(nn.Module):
    """Three times convolution 3x3, BatchNorm, ReLU; mean over pixels; linear layer. 94,186 weights for digits."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        for i, (before, width, stride) in enumerate(zip((channels, *WIDTHS), WIDTHS, STRIDES, strict=False), 1):
            self.add_module(f"conv{i}", nn.Conv2d(before, width, 3, stride, padding=1, bias=False))
            self.add_module(f"bn{i}", nn.BatchNorm2d(width))
        self.fc = nn.Linear(WIDTHS[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of normalised images `(n, c, h, w)`."""
        for i in range(1, len(WIDTHS) + 1):
            x = self.get_submodule(f"bn{i}")(self.get_submodule(f"conv{i}")(x)).relu()
        return self.fc(pooled(x))
