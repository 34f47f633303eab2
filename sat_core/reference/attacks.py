"""Projected gradient ascent on the loss, in numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sat_core.sections import AttackSpec
from sat_core.threat import THREAT_MODELS

LossGradient = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""(images, labels) to (logits, losses, gradient over the images)."""


def pgd(
    loss_gradient: LossGradient,
    images: np.ndarray,
    labels: np.ndarray,
    attack: AttackSpec,
    start: np.ndarray | None = None,
    *,
    clamp: bool = True,
) -> np.ndarray:
    """Run projected gradient ascent (Madry et al. 2018).

    x_{i+1} = clip(x + P_ε(x_i + α·v(∇ℓ(x_i)) - x)), with v the ascent direction and P_ε the projection.

    Args:
        loss_gradient: of the network.
        images: float32 or float64 in [0, 1], `(n, h, w, c)`; δ is of the same type.
        labels: int64 `(n,)`.
        attack: with `keep_best`, the highest loss among x_0 … x_{steps-1} is returned per example, else x_steps.
        start: δ of a random start; images are clipped to [0, 1] with it.
        clamp: False leaves out the clips to [0, 1]; it makes a wrong backend that the contract suite has to reject.
    """
    threat = THREAT_MODELS.get(attack.norm)
    low, high = (0.0, 1.0) if clamp else (-np.inf, np.inf)
    x0, real = images, images.dtype.type
    x = x0 if start is None else np.clip(x0 + start, low, high)
    best, best_loss = x, np.full(len(x), -np.inf)
    for _ in range(attack.steps):
        _, losses, gradient = loss_gradient(x, labels)
        if attack.keep_best:
            # Points are judged before they move, x_steps never: of seven steps at most six count, as in the code.
            better = losses > best_loss
            best_loss = np.where(better, losses, best_loss)
            best = np.where(better[:, None, None, None], x, best)
        moved = x + real(attack.step_size) * threat.ascent_direction(gradient)
        # Projection first, then the clamp (recipe, section 3). The clamp cannot leave the ball: x0 is in [0, 1], so
        # each pixel only comes nearer to it.
        x = np.clip(x0 + threat.project(moved - x0, attack.eps), low, high).astype(real)
    return best if attack.keep_best else x
