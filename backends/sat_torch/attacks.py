"""Attacks on tensors; `sat_core.ascent` has their outline and `sat_core.reference.attacks` is the oracle.

Callers put the module into evaluation mode.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sat_core.ascent import Ascent
from sat_core.attack_spec import AttackSpec
from sat_torch.losses import attack_loss
from sat_torch.modes import Forward
from sat_torch.ops import OPS


def pgd(
    forward: Forward,
    images: Tensor,
    labels: Tensor,
    attack: AttackSpec,
    start: Tensor | None = None,
    *,
    gradient_scale: float = 1.0,
) -> Tensor:
    """Run projected gradient ascent on the cross-entropy, inside the ε-ball and [0, 1].

    Args:
        forward: images to logits.
        images: `(n, c, h, w)` in [0, 1]; the arithmetic on δ is in their type, whatever the forward computes in.
        labels: int64 `(n,)`.
        attack: norm, radius and steps.
        start: δ of a random start, of the shape of `images`.
        gradient_scale: losses are multiplied with it, which keeps float16 gradients from vanishing; ascent directions
            do not depend on it.
    """
    ascent = Ascent(OPS, attack.norm, attack.keep_best)
    # no projection: the core draws starts inside the ball, and clamping to [0, 1] can only bring them nearer
    state = ascent.begin(images if start is None else (images + start).clamp(0, 1))
    # one gradient per step, and none where the last step leads: with keep_best that point is never looked at, as in
    # the authors' code (docs/PROTOCOLS.md, (g)), so that PGD-7 takes 6 steps that count
    for _ in range(attack.steps):
        losses, gradient = _gradient(forward, state[0], labels, gradient_scale)
        state = ascent.step(images, state, losses, gradient, attack.eps, attack.step_size)
    return ascent.result(state)


def _gradient(forward: Forward, x: Tensor, labels: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Return losses `(n,)`, and the gradient of `scale` times their sum."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        losses = attack_loss(forward(x).to(x.dtype), labels)
        # grad and not backward: that would also compute the gradients of weights that are not frozen, a third of the
        # arithmetic of a training step, and leave them in p.grad
        (gradient,) = torch.autograd.grad(losses, x, torch.full_like(losses, scale))
    return losses.detach(), gradient


def loss_gradient(
    forward: Forward,
    images: Tensor,
    labels: Tensor,
    loss: str = "ce",
    targets: Tensor | None = None,
    *,
    gradient_scale: float = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits `(n, k)`, losses `(n,)` and the gradient of their sum over the images, all in the images' type."""
    x = images.detach().requires_grad_()
    with torch.enable_grad():
        logits = forward(x).to(images.dtype)
        losses = attack_loss(logits, labels, loss, targets)
        (gradient,) = torch.autograd.grad(losses.sum() * gradient_scale, x)
    # unlike in `pgd` the caller sees the gradient's size; it is in the images' type, in which it cannot vanish
    return logits.detach(), losses.detach(), gradient / gradient_scale
