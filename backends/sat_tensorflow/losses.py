"""Losses on tensors; see `sat_core.reference.losses` for the definitions."""

from __future__ import annotations

import tensorflow as tf
from tensorflow import Tensor

from sat_core.errors import SpecError
from sat_core.moments import LARGEST

_TINY = 1e-12
"""Added to the divisor of DLR, as in AutoAttack."""


def attack_loss(logits: Tensor, labels: Tensor, loss: str = "ce", targets: Tensor | None = None) -> Tensor:
    """Compute the losses `(n,)` that an attack maximises.

    Args:
        logits: `(n, k)`.
        labels: int64 `(n,)`; for ce also targets `(n, k)`, whose rows sum to 1.
        loss: ce, dlr, targeted-dlr or margin.
        targets: int64 `(n,)`, for the last two; the highest other class without it.
    """
    if loss == "ce":
        if labels.shape.rank == 2:
            return tf.nn.softmax_cross_entropy_with_logits(tf.stop_gradient(labels), logits)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    own = tf.gather(logits, labels, batch_dims=1)
    if targets is None:
        is_own = tf.one_hot(labels, logits.shape[1], on_value=True, off_value=False)
        other = tf.reduce_max(tf.where(is_own, tf.constant(-float("inf"), logits.dtype), logits), axis=1)
    else:
        other = tf.gather(logits, targets, batch_dims=1)
    if loss == "margin":
        return other - own
    need = {"dlr": 3, "targeted-dlr": 4}.get(loss)
    if need is None or logits.shape[1] < need:
        raise SpecError(
            f"loss: expected ce, dlr (3 logits), targeted-dlr (4) or margin, got {loss!r} with {logits.shape[1]} logits"
        )
    # DLR and its targeted form (Croce & Hein 2020, Eqs. 6 and 7): a quotient of differences does not change if all
    # logits are scaled, by which a network can make the gradient of the cross-entropy vanish
    top = tf.math.top_k(logits, need).values
    scale = top[:, 0] - (top[:, 2] if loss == "dlr" else (top[:, 2] + top[:, 3]) / 2)
    return (other - own) / (scale + _TINY)


def weighted_sum(logits: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Compute Σ w·ℓ and Σ w over the batch, with ℓ the cross-entropy."""
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    return tf.reduce_sum(weights * losses), tf.reduce_sum(weights)


def moments(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the statistics of each row, float64 `(7, n)`; see `sat_core.moments.Moments`."""
    # in float64 the statistics of any logits are right, and a batch of them is little beside the network
    s = tf.cast(logits, tf.float64)
    s -= tf.reduce_max(s, axis=1, keepdims=True)
    e = tf.exp(s)
    total, own = tf.reduce_sum(e, axis=1), tf.gather(s, labels, batch_dims=1)
    is_own = tf.one_hot(labels, s.shape[1], on_value=True, off_value=False)
    others = tf.where(is_own, tf.constant(-float("inf"), s.dtype), s)
    other, rest = tf.reduce_max(others, axis=1), tf.exp(others)
    p = tf.exp(own) / total
    # -∞ · e^-∞ would be NaN
    entropy = tf.math.log(total) - tf.reduce_sum(tf.maximum(s, -1e4) * e, axis=1) / total
    # from the other classes alone, so that a loss that is nearly 0 keeps its digits
    loss = tf.math.softplus(tf.math.log(tf.reduce_sum(rest, axis=1)) - own)
    el2n = tf.sqrt(tf.reduce_sum(rest, axis=1) ** 2 + tf.reduce_sum(rest * rest, axis=1)) / total
    limited = tf.clip_by_value(tf.stack([loss, own - other]), -LARGEST, LARGEST)
    error = tf.cast(other > own, tf.float64)
    return tf.stack([entropy, p, error, p - tf.exp(other) / total, limited[0], limited[1], el2n])
