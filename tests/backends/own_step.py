"""A step of a training loop of one's own, with 3 members of A among the first 8 of 16 examples."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from sat_core.splits import Split
from sat_core.testing import samples
from sat_torch import SubsetAdversarialMixin, SubsetAdversarialStep

SPLIT = Split(
    kind="examples",
    strategy="listed",
    members=np.isin(np.arange(16), (1, 4, 6)),
    classes=None,
    weights=(5.0, 1.0),
)
ATTACK = samples.attack(norm="Linf", eps=0.1, step_size=0.05, steps=2)


class Fitted(SubsetAdversarialMixin, nn.Module):
    """As a `LightningModule` with the mixin, around `network()`."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.network = network()
        self.attack_members(SPLIT, ATTACK, **options)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)


def make(model: nn.Module) -> SubsetAdversarialStep:
    """The building block, for a split with |A| = 3 of 16 examples."""
    return SubsetAdversarialStep(model, SPLIT, ATTACK)


def network() -> nn.Module:
    """With BatchNorm, whose buffers DistributedDataParallel broadcasts before each forward."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)).eval()


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """All 16 examples."""
    data = samples.examples(16)
    return torch.from_numpy(data.images.transpose(0, 3, 1, 2).copy()), torch.from_numpy(data.labels), torch.arange(16)


def gradients_on_two_ranks(rank: int) -> dict[str, np.ndarray]:
    """The gradients of one step with `DistributedDataParallel` on this rank's half; only rank 0 has members of A.

    Those of "network.…" are the mixin's, averaged over the ranks as the wrapper does it.
    """
    model = nn.parallel.DistributedDataParallel(network())
    step = make(model)
    images, labels, index = (tensor[8 * rank : 8 * rank + 8] for tensor in batch())
    total, weight = step.losses(model(step.mix(images, labels, index)), labels, index)
    dist.all_reduce(weight)
    (total * dist.get_world_size() / weight).backward()
    fitted = Fitted()
    fitted.training_step((images, labels, index))["loss"].backward()
    for parameter in fitted.parameters():
        dist.all_reduce(parameter.grad)
        parameter.grad /= dist.get_world_size()
    both = (*model.module.named_parameters(), *fitted.named_parameters())
    return {name: np.asarray(p.grad) for name, p in both}
