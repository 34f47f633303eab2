"""One rank of two with DistributedDataParallel; `test_torch_step.py` starts both. Only rank 0 has members of A."""

import os
import sys
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from sat_core.splits import Split
from sat_core.testing import samples
from sat_torch import SubsetAdversarialStep


def make(model: nn.Module) -> SubsetAdversarialStep:
    """A step with |A| = 3 of 16 examples, all among the first 8."""
    members = np.isin(np.arange(16), (1, 4, 6))
    split = Split(kind="examples", strategy="listed", members=members, classes=None, weights=(5.0, 1.0))
    return SubsetAdversarialStep(model, split, samples.attack(norm="Linf", eps=0.1, step_size=0.05, steps=2))


def network() -> nn.Module:
    """With BatchNorm, whose buffers DistributedDataParallel broadcasts before each forward."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)).eval()


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """All 16 examples."""
    data = samples.examples(16)
    return torch.from_numpy(data.images.transpose(0, 3, 1, 2).copy()), torch.from_numpy(data.labels), torch.arange(16)


def main(rank: int, rendezvous: str, out: str) -> None:
    """Save the gradients of one step on this rank's half of the batch."""
    torch.set_num_threads(1)
    wait = timedelta(seconds=60)  # for the other rank; then an error ends this one
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2, timeout=wait)
    model = nn.parallel.DistributedDataParallel(network())
    step = make(model)
    images, labels, index = (tensor[8 * rank : 8 * rank + 8] for tensor in batch())
    total, weight = step.losses(model(step.mix(images, labels, index)), labels, index)
    dist.all_reduce(weight)
    (total * dist.get_world_size() / weight).backward()
    np.savez(out, *(p.grad.numpy() for p in model.parameters() if p.grad is not None))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
    os._exit(0)  # PyTorch's threads may end the process with SIGABRT while the interpreter is taken down
