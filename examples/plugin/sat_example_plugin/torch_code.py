"""Loss and geometry in PyTorch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sat_core.geometry import Geometry

from .numpy_code import Q
from .threat import kept


def generalized_cross_entropy(adversarial: Tensor, clean: Tensor | None, targets: Tensor, beta: Any) -> Tensor:
    """Return the loss of each member, `(m,)`."""
    powers = torch.exp(Q * torch.log_softmax(adversarial, dim=1))
    return (targets * (1 - powers)).sum(dim=1) / Q


class L1Geometry(Geometry):
    """See `threat.L1Ball`."""

    name = "L1"

    def size(self, delta: Tensor) -> Tensor:
        return delta.abs().flatten(1).sum(dim=1).reshape(-1, *[1] * (delta.ndim - 1))

    def project(self, delta: Tensor, eps: Any) -> Tensor:
        # sums of a whole image in float32 would leave the ball by more than rounding
        flat = delta.flatten(1).double()
        descending = flat.abs().sort(dim=1, descending=True).values
        numbers = torch.arange(1, flat.shape[1] + 1, dtype=flat.dtype, device=flat.device)
        thresholds = (descending.cumsum(dim=1) - eps) / numbers
        last = (descending > thresholds).sum(dim=1, keepdim=True).clamp(min=1) - 1
        theta = thresholds.gather(1, last).clamp(min=0)
        return (flat.sign() * (flat.abs() - theta).clamp(min=0)).reshape(delta.shape).to(delta.dtype)

    def ascent_direction(self, gradient: Tensor) -> Tensor:
        flat = gradient.flatten(1)
        least = flat.abs().topk(kept(flat.shape[1]), dim=1).values[:, -1:]
        signs = flat.sign() * (flat.abs() >= least)
        return (signs / (signs.abs().sum(dim=1, keepdim=True) + self.tiny)).reshape(gradient.shape)

    def start(self, cube: Tensor, length: Tensor, eps: Any) -> Tensor:
        return cube / (self.size(cube) + self.tiny) * (length * eps)
