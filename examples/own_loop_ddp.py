"""Subset adversarial training in your own PyTorch loop on several devices: GPUs, or processes on the CPU.

Run it: torchrun --nproc-per-node 2 examples/own_loop_ddp.py
"""

import os

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from sat_core import AttackSpec, DataSet, Split, SubsetSpec, get_backend, get_dataset, make_split
from sat_torch import GlobalBatchNorm, SubsetAdversarialStep, WithIndex

BATCH = 32
"""Examples per step, on all devices together."""


class Net(nn.Sequential):
    """Map images `(n, 1, 8, 8)` in [0, 1] to logits. It normalises inside, so eps is in units of [0, 1] pixels."""

    def __init__(self) -> None:
        convolutions = (
            nn.Conv2d(1, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, 2),
            nn.ReLU(),
        )
        super().__init__(*convolutions, nn.Flatten(), nn.Linear(576, 10))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward((images - 0.3) / 0.4)


def train(data: DataSet, split: Split, device: torch.device, epochs: int) -> nn.Module:
    """Train on all ranks. Each step is the one that a single device would make with the batches of all."""
    torch.manual_seed(0)
    images, labels = torch.from_numpy(data.train.images).permute(0, 3, 1, 2), torch.from_numpy(data.train.labels)
    examples = WithIndex(TensorDataset(images, labels))
    sampler: DistributedSampler[object] = DistributedSampler(examples, drop_last=True)
    share, left = divmod(BATCH, dist.get_world_size())
    if left:
        raise ValueError(f"expected a number of devices that divides {BATCH}, got {dist.get_world_size()}")
    loader = DataLoader(examples, share, sampler=sampler, drop_last=True)
    model = DistributedDataParallel(Net().to(device))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    step = SubsetAdversarialStep(model, split, AttackSpec(norm="L2", eps=0.5, steps=7))
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        for x, y, index in loader:
            x, y = x.to(device), y.to(device)
            mixed = step.mix(x, y, index)  # members of A become adversarial examples; ranks do not talk
            with GlobalBatchNorm():  # statistics of BatchNorm are those of all ranks
                logits = model(mixed)
            total, weight = step.losses(logits, y, index)  # Σ w·ℓ and Σ w on this rank
            dist.all_reduce(weight)
            optimizer.zero_grad()
            (total * dist.get_world_size() / weight).backward()  # DistributedDataParallel averages over ranks
            optimizer.step()
    return model.module.eval()


def main(epochs: int = 3) -> None:
    """Attack a random half; the first rank prints clean and PGD accuracy."""
    dist.init_process_group()  # NCCL for GPUs, gloo for the CPU
    device = torch.device(f"cuda:{os.environ['LOCAL_RANK']}" if torch.cuda.is_available() else "cpu")
    data = get_dataset("digits")
    model = train(data, make_split(SubsetSpec(strategy="random", size=0.5), "uniform", data), device, epochs)
    if dist.get_rank() == 0:
        classifier = get_backend("torch", str(device)).wrap(model, classes=10, image_shape=data.image_shape)
        x, y = data.test.images, data.test.labels
        inputs = (x, classifier.perturb(x, y, AttackSpec(norm="L2", eps=0.5, steps=20, step_size=0.05)))
        clean, pgd = (float((classifier.logits(images).argmax(1) == y).mean()) for images in inputs)
        print(f"{dist.get_world_size()} processes on {device.type}: clean {clean:.1%}, PGD-20 {pgd:.1%}")
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)  # so small a network is fastest on one thread
    main()
