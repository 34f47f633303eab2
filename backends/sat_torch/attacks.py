"""Attacks on tensors; `sat_core.reference.attacks` is the oracle. Callers put the module into evaluation mode."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sat_core.sections import AttackSpec
from sat_torch.geometry import GEOMETRIES
from sat_torch.losses import attack_loss

Forward = Callable[[Tensor], Tensor]
"""Images `(n, c, h, w)` in [0, 1] to logits, in any precision."""


def pgd(
    forward: Forward,
    images: Tensor,
    labels: Tensor,
    attack: AttackSpec,
    start: Tensor | None = None,
    *,
    gradient_scale: float = 1.0,
) -> Tensor:
    """Projected gradient ascent on the cross-entropy from `images` (plus `start`), inside the ε-ball and [0, 1].

    The arithmetic on δ is that of `images`, whatever precision the forward computes in. gradient_scale keeps float16
    gradients from vanishing; ascent directions do not depend on it.
    """
    geometry = GEOMETRIES[attack.norm]
    x = images if start is None else (images + start).clamp(0, 1)
    best, best_loss = x, None
    for _ in range(attack.steps):
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            losses = attack_loss(forward(x).to(images.dtype), labels)
            (gradient,) = torch.autograd.grad(losses, x, torch.full_like(losses, gradient_scale))
        x, losses = x.detach(), losses.detach()
        if attack.keep_best:
            if best_loss is None:
                best, best_loss = x, losses
            else:
                best = torch.where((losses > best_loss)[:, None, None, None], x, best)
                best_loss = torch.maximum(losses, best_loss)
        moved = x + attack.step_size * geometry.ascent_direction(gradient)
        x = (images + geometry.project(moved - images, attack.eps)).clamp(0, 1)
    return best if attack.keep_best else x


def loss_gradient(
    forward: Forward,
    images: Tensor,
    labels: Tensor,
    loss: str = "ce",
    targets: Tensor | None = None,
    *,
    gradient_scale: float = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits `(n, k)`, losses `(n,)` and the gradient of their sum over the images `(n, c, h, w)`, in their type."""
    x = images.detach().requires_grad_()
    with torch.enable_grad():
        logits = forward(x).to(images.dtype)
        losses = attack_loss(logits, labels, loss, targets)
        (gradient,) = torch.autograd.grad(losses.sum() * gradient_scale, x)
    return logits.detach(), losses.detach(), gradient / gradient_scale


def attack_members(
    forward: Forward,
    images: Tensor,
    labels: Tensor,
    members: Tensor,
    attack: AttackSpec,
    start: Tensor | None = None,
    *,
    pad_to: int = 1,
    gradient_scale: float = 1.0,
) -> Tensor:
    """The mixed batch: `images` with adversarial examples at the positions `members` (int64), clean elsewhere.

    The gathered members are padded to a multiple of `pad_to` with copies of the first, so that compiled code sees few
    shapes; in evaluation mode examples do not meet, so padding changes nothing.
    """
    if len(members) == 0:
        return images
    padding = -len(members) % pad_to
    padded = torch.cat([members, members[:1].expand(padding)]) if padding else members
    if start is not None and padding:
        start = torch.cat([start, start[:1].expand(padding, -1, -1, -1)])
    whole = len(members) == len(images) and not padding
    x, y = (images, labels) if whole else (images[padded], labels[padded])
    adversarial = pgd(forward, x, y, attack, start, gradient_scale=gradient_scale)
    return adversarial if whole else images.index_copy(0, members, adversarial[: len(members)])
