"""Losses of members of A in numpy, with gradients by hand; see `sat_core.member_losses` for their definitions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sat_core.member_losses import LOSSES, TINY
from sat_core.reference.losses import loss_and_gradient

Result = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Losses `(m,)` and their gradients over the logits of adversarial and of clean images, each `(m, k)`."""


def member_losses(
    loss: str, adversarial: np.ndarray, clean: np.ndarray | None, targets: np.ndarray, beta: float
) -> Result:
    """Compute the losses of members of A with the loss of that name.

    Args:
        loss: Name in `sat_core.member_losses.LOSSES`.
        adversarial: Logits of adversarial examples `(m, k)`.
        clean: Logits of the clean images `(m, k)`; None for a loss without `pairs`.
        targets: `(m, k)`.
        beta: Weight of the second term.
    """
    kind = LOSSES.get(loss)
    result: Result = kind.call(_OURS.get(loss) or kind.function("numpy"), adversarial, clean, targets, beta)
    kind.check_shape(result[0], [len(targets)], "losses of shape (m,)")
    return result


def _softmax(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _ce(adversarial: np.ndarray, clean: np.ndarray, targets: np.ndarray, beta: float) -> Result:
    return *loss_and_gradient(adversarial, targets), np.zeros_like(adversarial)


def _divergence(p: np.ndarray, q: np.ndarray) -> Result:
    """KL(p ‖ q), and its gradients over the logits of q and of p."""
    ratio = np.log(p) - np.log(q)
    losses = np.sum(p * ratio, axis=1)
    return losses, q - p, p * (ratio - losses[:, None])


def _trades(adversarial: np.ndarray, clean: np.ndarray, targets: np.ndarray, beta: float) -> Result:
    natural, over_clean = loss_and_gradient(clean, targets)
    apart, over_q, over_p = _divergence(_softmax(clean), _softmax(adversarial))
    return natural + beta * apart, beta * over_q, over_clean + beta * over_p


def _mart(adversarial: np.ndarray, clean: np.ndarray, targets: np.ndarray, beta: float) -> Result:
    p, q, rows, labels = _softmax(clean), _softmax(adversarial), np.arange(len(clean)), targets.argmax(axis=1)
    losses, over_adversarial = loss_and_gradient(adversarial, targets)
    others = np.where(targets > 0, 0.0, q)
    j = others.argmax(axis=1)
    other = others[rows, j]
    # d other / d z' = other · (onehot(j) - q)
    over_adversarial += (other / (1 - other + TINY))[:, None] * (np.eye(q.shape[1])[j] - q)
    own = p[rows, labels]
    apart, over_q, over_p = _divergence(p, q)
    missed = (1 - own)[:, None]
    over_own = own[:, None] * (targets - p)
    losses = losses - np.log(1 - other + TINY) + beta * apart * (1 - own)
    return losses, over_adversarial + beta * missed * over_q, beta * (missed * over_p - apart[:, None] * over_own)


def _alp(adversarial: np.ndarray, clean: np.ndarray, targets: np.ndarray, beta: float) -> Result:
    natural, over_clean = loss_and_gradient(clean, targets)
    robust, over_adversarial = loss_and_gradient(adversarial, targets)
    apart, k = clean - adversarial, clean.shape[1]
    losses = (natural + robust) / 2 + beta * np.sum(apart**2, axis=1) / k
    return losses, over_adversarial / 2 - 2 * beta * apart / k, over_clean / 2 + 2 * beta * apart / k


_OURS: dict[str, Callable[..., Result]] = {
    "ce": _ce,
    "trades": _trades,
    "mart": _mart,
    "alp": _alp,
}
