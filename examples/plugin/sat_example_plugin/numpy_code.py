"""The loss in numpy, with its gradient by hand: the reference that the other frameworks are compared with."""

from __future__ import annotations

import numpy as np

Q = 0.7


def generalized_cross_entropy(
    adversarial: np.ndarray, clean: np.ndarray | None, targets: np.ndarray, beta: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return losses `(m,)`, and their gradients over the logits of adversarial and of clean images."""
    e = np.exp(adversarial - adversarial.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    weighted = targets * p**Q
    losses = (targets.sum(axis=1) - weighted.sum(axis=1)) / Q
    return losses, p * weighted.sum(axis=1, keepdims=True) - weighted, np.zeros_like(adversarial)
