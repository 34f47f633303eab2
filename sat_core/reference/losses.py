"""Losses of attacks and of training, with analytic gradients over the logits."""

from __future__ import annotations

import numpy as np

from sat_core.errors import SpecError

# In the denominator of DLR, as in AutoAttack's code.
_TINY = 1e-12


def loss_and_gradient(
    logits: np.ndarray, labels: np.ndarray, loss: str = "ce", targets: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Compute losses that an attack maximises, and their gradient over the logits.

    With z the logits, y the label, t the target and z_(i) the i-th largest logit (Croce & Hein 2020, Eqs. 6 and 7):

    - ce: log Σ e^z - z_y; with targets t in place of labels, -Σ t log p
    - dlr: -(z_y - max_{i≠y} z_i) / (z_(1) - z_(3))
    - targeted-dlr: -(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2)
    - margin: z_t - z_y, where t without `targets` is the highest other class

    Args:
        logits: `(n, k)`.
        labels: int64 `(n,)`; for ce also targets, floats `(n, k)` with rows that sum to 1.
        loss: one of the four names.
        targets: int64 `(n,)`, for the last two.

    Returns:
        Losses `(n,)`, and the gradient of their sum `(n, k)`; float64.

    Raises:
        SpecError: for another loss, or too few logits for it.
    """
    z = logits.astype(np.float64)
    rows = np.arange(len(z))
    if loss == "ce":
        shifted = z - z.max(axis=1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        t = np.eye(z.shape[1])[labels] if labels.ndim == 1 else labels
        return -np.sum(t * log_p, axis=1), np.exp(log_p) - t
    if targets is None:
        others = z.copy()
        others[rows, labels] = -np.inf
        targets = others.argmax(axis=1)
    difference = z[rows, targets] - z[rows, labels]
    gradient = np.zeros_like(z)
    gradient[rows, targets] += 1
    gradient[rows, labels] -= 1
    if loss == "margin":
        return difference, gradient
    shares = {"dlr": {1: 1.0, 3: -1.0}, "targeted-dlr": {1: 1.0, 3: -0.5, 4: -0.5}}.get(loss)
    if shares is None or z.shape[1] < max(shares):
        need = f", got {z.shape[1]} logits" if shares else ""
        raise SpecError(f"loss: expected ce, dlr (3 logits), targeted-dlr (4) or margin, got {loss!r}{need}")
    ranks = np.argsort(-z, axis=1, kind="stable")
    scale = np.sum([c * z[rows, ranks[:, i - 1]] for i, c in shares.items()], axis=0) + _TINY
    value = difference / scale
    # The denominator is made of logits as well, and AutoAttack differentiates through it: the quotient rule.
    gradient /= scale[:, None]
    for i, c in shares.items():
        gradient[rows, ranks[:, i - 1]] -= c * value / scale
    return value, gradient


def weighted_mean(losses: np.ndarray, weights: np.ndarray) -> float:
    """Compute Σ w·ℓ / Σ w over a batch."""
    return float(np.dot(weights.astype(np.float64), losses) / weights.astype(np.float64).sum())
