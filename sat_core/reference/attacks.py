"""Projected gradient ascent on the loss, in numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sat_core.attack_kinds import ATTACKS
from sat_core.attack_spec import AttackSpec
from sat_core.threat import THREAT_MODELS

LossGradient = Callable[..., tuple[np.ndarray, ...]]
"""(images, labels, loss) to (logits, losses, gradient over the images); labels may be targets `(n, k)`, for ``ce``."""


def pgd(
    loss_gradient: LossGradient,
    images: np.ndarray,
    labels: np.ndarray,
    attack: AttackSpec,
    start: np.ndarray | None = None,
    *,
    strength: float = 1.0,
    clamp: bool = True,
) -> np.ndarray:
    """Run projected gradient ascent (Madry et al. 2018).

    x_{i+1} = clip(x + P_ε(x_i + α·v(∇ℓ(x_i)) - x)), with v the ascent direction and P_ε the projection.

    Args:
        loss_gradient: of the network.
        images: float32 or float64 in [0, 1], `(n, h, w, c)`; δ is of the same type.
        labels: int64 `(n,)`, or targets `(n, k)`.
        attack: with `keep_best`, the highest loss among x_0 … x_{steps-1} is returned per example, else x_steps.
        start: δ of a random start; images are clipped to [0, 1] with it.
        strength: factor of ε and α, in [0, 1].
        clamp: False leaves out the clips to [0, 1]; it makes a wrong backend that the contract suite has to reject.
    """
    kind, threat = ATTACKS.get(attack.kind), THREAT_MODELS.get(attack.norm)
    if kind.functions:  # of a plug-in
        goal = objective(loss_gradient, images, labels, attack)
        own = kind.function("numpy")
        made = kind.call(own, lambda x: loss_gradient(x, *goal)[1:], images, labels, attack, start)
        kind.check_shape(made, images.shape, f"images of shape {images.shape}")
        delta = made - images
        delta = threat.project(delta, attack.eps) if attack.projects else delta
        return np.clip(images + delta, 0, 1).astype(images.dtype)
    low, high = (0.0, 1.0) if clamp else (-np.inf, np.inf)
    x0, real = images, images.dtype.type
    eps, step_size = attack.eps * strength, real(attack.step_size * strength)
    labels, loss = objective(loss_gradient, images, labels, attack)
    x = x0 if start is None else np.clip(x0 + start, low, high)
    best, best_loss = x, np.full(len(x), -np.inf)
    for _ in range(attack.steps):
        _, losses, gradient = loss_gradient(x, labels, loss)
        if attack.keep_best:
            # Points are judged before they move, x_steps never: of seven steps at most six count, as in the code.
            better = losses > best_loss
            best_loss = np.where(better, losses, best_loss)
            best = np.where(better[:, None, None, None], x, best)
        delta = x + step_size * threat.ascent_direction(gradient) - x0
        # Projection first, then the clamp (recipe, section 3). The clamp cannot leave the ball: x0 is in [0, 1], so
        # each pixel only comes nearer to it.
        x = np.clip(x0 + (threat.project(delta, eps) if attack.projects else delta), low, high).astype(real)
    return best if attack.keep_best else x


def objective(
    loss_gradient: LossGradient, images: np.ndarray, labels: np.ndarray, attack: AttackSpec
) -> tuple[np.ndarray, str]:
    """Return labels or targets, and the loss, that an attack maximises.

    KL(p ‖ p') differs from the cross-entropy with the targets p by the entropy of p, which no attack changes.
    """
    if attack.loss != "kl":
        return labels, attack.loss
    plain = labels if labels.ndim == 1 else labels.argmax(axis=1)
    logits = loss_gradient(images, plain, "ce")[0].astype(np.float64)
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True), "ce"


def strongest(
    loss_gradient: LossGradient, images: np.ndarray, labels: np.ndarray, attack: AttackSpec, tries: list[np.ndarray]
) -> np.ndarray:
    """Return, for each image, that of several adversarial examples with the highest loss; the first of equal ones."""
    if len(tries) == 1:
        return tries[0]
    labels, loss = objective(loss_gradient, images, labels, attack)
    losses = [loss_gradient(x, labels, loss)[1] for x in tries]
    return np.stack(tries)[np.argmax(losses, axis=0), np.arange(len(images))]
