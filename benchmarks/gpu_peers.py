"""Full adversarial training by what people would take instead, on the device, in the same precision and layout."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gpu_log import Row
from gpu_setup import Bench, random_examples
from gpu_training import PGD7, settings, training
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from sat_core.training_spec import TrainingSpec

ROUNDS = 4
"""Turns of each; the first is not counted.
"""
SAME = {"float32": 0.01, "tf32": 0.02, "bf16": 0.05}
"""Largest relative difference of the losses that the attacks reach."""

Perturb = Callable[[Tensor, Tensor], Tensor]


class _InPrecision(nn.Module):
    """A network under autocast, whose logits are float32."""

    def __init__(self, inner: nn.Module, precision: str) -> None:
        super().__init__()
        self.inner, self._half = inner, precision == "bf16"

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self._half):
            return self.inner(images).float()


def loop(network: nn.Module) -> Perturb:
    """Write PGD-7 in L2 by hand: gradients of images only, nothing read from the device."""

    def perturb(images: Tensor, labels: Tensor) -> Tensor:
        x = images
        for _ in range(PGD7.steps):
            x = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(cross_entropy(network(x), labels, reduction="sum"), x)
            norm = gradient.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
            delta = x.detach() + PGD7.step_size * gradient / norm - images
            length = delta.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
            x = (images + delta * (PGD7.eps / length).clamp_max(1)).clamp(0, 1)
        return x

    return perturb


def torchattacks(network: nn.Module) -> Perturb:
    """Use torchattacks' PGDL2."""
    from torchattacks import PGDL2

    attack: Perturb = PGDL2(network, eps=PGD7.eps, alpha=PGD7.step_size, steps=PGD7.steps, random_start=False)
    return attack


PEERS: dict[str, Callable[[nn.Module], Perturb]] = {"torchattacks": torchattacks, "hand-written loop": loop}


class Peer:
    """An attack, and the training step that everyone writes after it; `channels_last` on a GPU, as ours."""

    def __init__(self, bench: Bench, name: str, spec: TrainingSpec) -> None:
        data = random_examples(bench.size.batch * bench.size.turn, bench.size.side)
        classifier: Any = bench.build(bench.size.small, data)
        layout = torch.channels_last if spec.channels_last else torch.contiguous_format
        self.network = _InPrecision(classifier.module.to(memory_format=layout), spec.precision).to(bench.device)
        images = torch.from_numpy(data.images).permute(0, 3, 1, 2).to(bench.device) / 255
        self.images = images.contiguous(memory_format=layout).split(bench.size.batch)
        self.labels = torch.from_numpy(data.labels).to(bench.device).split(bench.size.batch)
        self.perturb = PEERS[name](self.network.eval())
        self._optimizer = torch.optim.SGD(
            self.network.parameters(), spec.lr, momentum=spec.momentum, weight_decay=spec.weight_decay
        )

    def turn(self) -> None:
        """Train on all batches once."""
        for images, labels in zip(self.images, self.labels, strict=True):
            self.network.eval()
            adversarial = self.perturb(images, labels).detach()
            self.network.train()
            self._optimizer.zero_grad()
            cross_entropy(self.network(adversarial), labels).backward()
            self._optimizer.step()

    def reached(self) -> float:
        """Return the loss of the adversarial examples of the first batch, in evaluation mode."""
        adversarial = self.perturb(self.images[0], self.labels[0]).detach()
        with torch.no_grad():
            return float(cross_entropy(self.network.eval()(adversarial), self.labels[0]))


def compare(bench: Bench, precision: str) -> Row:
    """Time our full adversarial training and the peers' in turn, in one precision, without augmentation."""
    size = bench.size
    data, spec = random_examples(size.batch * size.turn, size.side), settings(bench, precision=precision, epochs=ROUNDS)
    classifier = bench.build(size.small, data)
    installed = [name for name in PEERS if name != "torchattacks" or importlib.util.find_spec(name)]
    with training(bench.backend, classifier, data, spec, 1.0, PGD7) as run:
        peers = {name: Peer(bench, name, spec) for name in installed}
        _check_same_work(peers, classifier, data, SAME[precision])
        epochs = iter(range(ROUNDS))
        turns: dict[str, Callable[[], Any]] = {"ours": lambda: run.epoch(next(epochs))}
        turns |= {name: peer.turn for name, peer in peers.items()}
        seconds: dict[str, list[float]] = {name: [] for name in turns}
        for _ in range(ROUNDS):
            for name, turn in turns.items():
                seconds[name].append(bench.seconds(turn))
    rates = {name: len(data) / float(np.median(values[1:])) for name, values in seconds.items()}
    fastest = max(peers, key=lambda name: rates[name])
    return {
        **{f"{name}, images/s": rates.get(name, "not installed") for name in ("ours", *PEERS)},
        "ours ÷ fastest peer": rates["ours"] / rates[fastest],
        "fastest": fastest,
    }


def _check_same_work(peers: dict[str, Peer], classifier: Any, data: Any, tolerance: float) -> None:
    """Raise unless all attacks reach the same loss on the first batch, so that nobody is fast by attacking less."""
    batch = len(peers["hand-written loop"].labels[0])
    labels = data.labels[:batch]
    logits = classifier.logits(classifier.perturb(data.images[:batch], labels, PGD7))
    ours = float(cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels)))
    for name, peer in peers.items():
        if not abs(peer.reached() / ours - 1) <= tolerance:
            raise RuntimeError(
                f"{name} reaches a loss of {peer.reached():.4f}, ours of {ours:.4f}: not the same attack"
            )
