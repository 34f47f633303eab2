"""Training steps as one writes them by hand in PyTorch, for each option of a step: what ours are compared with."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div

from sat_core.testing.options import Option


class Bare:
    """A training loop on batches of uint8 images `(n, c, h, w)`, whose first `members` are attacked by L2 PGD.

    Args:
        module: Images in [0, 1] to logits; it is trained.
        option: Of which the settings are followed.
    """

    def __init__(self, module: nn.Module, option: Option) -> None:
        self.training, self.attack, self.loss = option.settings(precision="float32", batch_size=64)
        self.module, self.option = module.to(memory_format=torch.channels_last), option
        t = self.training
        self.optimizer = torch.optim.SGD(module.parameters(), t.lr, t.momentum, weight_decay=t.weight_decay, fused=True)
        self.average = copy.deepcopy(module) if t.averaging != "none" else None
        self.delta: Tensor | None = None

    def step(self, images: Tensor, labels: Tensor, weights: Tensor, members: int) -> float:
        """Make a step; returns its loss."""
        x = images.float().contiguous(memory_format=torch.channels_last) / 255
        if self.option.online:
            order = self._order(x, labels)
            x, labels = x[order], labels[order]
        targets: Tensor = labels
        if self.training.mixing != "none":
            other = torch.randperm(len(x))
            onehot = nn.functional.one_hot(labels, 10).float()
            x, targets = 0.7 * x + 0.3 * x[other], 0.7 * onehot + 0.3 * onehot[other]
        total, parts = weights.sum(), self.training.micro_batches
        for _ in range(self.attack.replays):
            value = 0.0
            self.optimizer.zero_grad()
            for k in range(parts):
                own, m = slice(k, None, parts), -((k - members) // parts)
                value += self._learn(x[own], targets[own], weights[own] / total, m)
            if self.training.clip_norm:
                nn.utils.clip_grad_norm_(self.module.parameters(), self.training.clip_norm)
            self.optimizer.step()
        if self.average is not None:
            with torch.no_grad():
                for mean, now in zip(
                    self.average.state_dict().values(), self.module.state_dict().values(), strict=True
                ):
                    if mean.is_floating_point():
                        mean.lerp_(now, 0.1)
        return value

    def _learn(self, x: Tensor, targets: Tensor, weights: Tensor, m: int) -> float:
        free = self.attack.free
        if free:
            if self.delta is None:
                self.delta = torch.zeros_like(x)
            first = (x[:m] + self.delta[:m]).clamp(0, 1).requires_grad_()
            mixed = torch.cat([first, x[m:]])
        else:
            mixed = torch.cat([self._attacked(x[:m], targets[:m]), x[m:]])
        self.module.train()
        if self.training.awp:
            pushes = self._pushes(mixed, x, targets, weights, m)
            for p, push in pushes:
                p.data.add_(push)
        loss = self._loss(mixed, x, targets, weights, m).sum()
        loss.backward()
        if self.training.awp:
            for p, push in pushes:
                p.data.sub_(push)
        if free and self.delta is not None:
            with torch.no_grad():
                moved = self.delta[:m] + self.attack.step_size * _unit(first.grad / weights[:m, None, None, None])
                self.delta[:m] = (x[:m] + _inside(moved, self.attack.eps)).clamp(0, 1) - x[:m]
        return loss.item()

    def _loss(self, mixed: Tensor, x: Tensor, targets: Tensor, weights: Tensor, m: int) -> Tensor:
        n = len(mixed)
        if self.loss.kind != "trades":
            return weights * cross_entropy(self.module(mixed), targets, reduction="none")
        logits = self.module(torch.cat([mixed, x[:m]]))
        adversarial, others, clean = logits[:m], logits[m:n], logits[n:]
        apart = kl_div(adversarial.log_softmax(1), clean.softmax(1), reduction="none").sum(1)
        of_members = cross_entropy(clean, targets[:m], reduction="none") + self.loss.betas[0] * apart
        return weights * torch.cat([of_members, cross_entropy(others, targets[m:], reduction="none")])

    def _pushes(self, *batch: Any) -> list[tuple[nn.Parameter, Tensor]]:
        weights = [p for p in self.module.parameters() if p.ndim > 1]
        kept = [(buffer, buffer.clone()) for buffer in self.module.buffers()]
        gradients = torch.autograd.grad(self._loss(*batch)[: batch[-1]].sum(), weights)
        for buffer, before in kept:
            buffer.copy_(before)
        pairs = zip(weights, gradients, strict=True)
        return [(w, self.training.awp * w.detach().norm() / g.norm() * g) for w, g in pairs]

    def _attacked(self, x: Tensor, targets: Tensor) -> Tensor:
        self.module.eval()
        attack, loss = self.attack, self._objective(x, targets)
        tries, losses = [], []
        for _ in range(attack.restarts):
            adversarial = x
            if attack.random_start:
                start = attack.start_radius * torch.rand(len(x), 1, 1, 1) * _unit(torch.rand_like(x) * 2 - 1)
                adversarial = (x + start).clamp(0, 1)
            for _ in range(attack.steps):
                adversarial = adversarial.detach().requires_grad_()
                (gradient,) = torch.autograd.grad(loss(adversarial).sum(), adversarial)
                delta = adversarial.detach() + attack.step_size * _unit(gradient) - x
                adversarial = (x + (_inside(delta, attack.eps) if attack.projects else delta)).clamp(0, 1)
            tries.append(adversarial)
        if len(tries) == 1:
            return tries[0]
        with torch.no_grad():
            losses = [loss(one) for one in tries]
        return torch.stack(tries)[torch.stack(losses).argmax(0), torch.arange(len(x))]

    def _objective(self, x: Tensor, targets: Tensor) -> Callable[[Tensor], Tensor]:
        if self.attack.loss == "kl":
            with torch.no_grad():
                targets = self.module(x).softmax(1)
        return lambda images: cross_entropy(self.module(images), targets, reduction="none")

    @torch.no_grad()
    def _order(self, x: Tensor, labels: Tensor) -> Tensor:
        self.module.eval()
        p = self.module(x).softmax(1)
        own = p.gather(1, labels[:, None])[:, 0]
        return (own - p.scatter(1, labels[:, None], -1.0).amax(1)).argsort(stable=True)


def _unit(x: Tensor) -> Tensor:
    return x / (x.flatten(1).norm(dim=1) + 1e-10)[:, None, None, None]


def _inside(delta: Tensor, eps: float) -> Tensor:
    return delta * (eps / (delta.flatten(1).norm(dim=1) + 1e-10)).clamp(max=1)[:, None, None, None]
