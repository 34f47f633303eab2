"""Attacks on tensors; `sat_core.ascent` has their outline and `sat_core.reference.attacks` is the oracle.

Callers put the module into evaluation mode.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sat_core.ascent import Ascent, Starts, called, objective, strongest
from sat_core.attack_kinds import ATTACKS
from sat_core.attack_spec import AttackSpec
from sat_torch.losses import attack_loss
from sat_torch.modes import Forward
from sat_torch.ops import OPS


def perturb(
    forward: Forward,
    images: Tensor,
    labels: Tensor,
    attack: AttackSpec,
    starts: Starts = (None,),
    *,
    strength: Tensor | None = None,
    gradient_scale: float = 1.0,
) -> Tensor:
    """Attack images once from each start, and return the strongest adversarial example of each.

    Args:
        forward: images to logits.
        images: `(n, c, h, w)` in [0, 1]; the arithmetic on δ is in their type, whatever the forward computes in.
        labels: int64 `(n,)`, or targets `(n, k)`.
        attack: kind, norm, radius, steps and loss.
        starts: δ of random starts, each of the shape of `images`; None for the images themselves.
        strength: factor of ε and step size, a scalar; None for 1.
        gradient_scale: losses are multiplied with it, which keeps float16 gradients from vanishing; ascent directions
            do not depend on it.
    """
    with torch.no_grad():
        labels, loss = objective(OPS, lambda x: forward(x).to(x.dtype), images, labels, attack.loss)

    def gradient(x: Tensor) -> tuple[Tensor, Tensor]:
        return _gradient(forward, x, labels, loss, gradient_scale)

    tries = [_run(gradient, images, labels, attack, start, strength, gradient_scale) for start in starts]
    if len(tries) == 1:
        return tries[0]
    with torch.no_grad():
        losses = [attack_loss(forward(x).to(x.dtype), labels, loss) for x in tries]
    return strongest(OPS, tries, losses)


def _run(
    gradient: Any,
    images: Tensor,
    labels: Tensor,
    attack: AttackSpec,
    start: Tensor | None,
    strength: Tensor | None,
    scale: float,
) -> Tensor:
    if ATTACKS.get(attack.kind).functions:

        def unscaled(x: Tensor) -> tuple[Tensor, Tensor]:
            losses, scaled = gradient(x)
            return losses, scaled / scale

        made: Tensor = called(OPS, unscaled, images, labels, attack, start, attack.eps)
        return made.detach()
    # Tensors, where they come from the plan of an epoch: a captured step reads them anew in each replay.
    eps, step_size = (
        size if strength is None else (strength * size).to(images) for size in (attack.eps, attack.step_size)
    )
    ascent = Ascent(OPS, attack.norm, attack.keep_best, attack.projects)
    # no projection: the core draws starts inside the ball, and clamping to [0, 1] can only bring them nearer
    state = ascent.begin(images if start is None else (images + start).clamp(0, 1))
    # one gradient per step, and none where the last step leads: with keep_best that point is never looked at, as in
    # the authors' code (docs/PROTOCOLS.md, (g)), so that PGD-7 takes 6 steps that count
    for _ in range(attack.steps):
        losses, slope = gradient(state[0])
        state = ascent.step(images, state, losses, slope, eps, step_size)
    return ascent.result(state)


def _gradient(forward: Forward, x: Tensor, labels: Tensor, loss: str, scale: float) -> tuple[Tensor, Tensor]:
    """Return losses `(n,)`, and the gradient of `scale` times their sum."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        losses = attack_loss(forward(x).to(x.dtype), labels, loss)
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
    # unlike in `perturb` the caller sees the gradient's size; it is in the images' type, in which it cannot vanish
    return logits.detach(), losses.detach(), gradient / gradient_scale
