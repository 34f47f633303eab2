"""Statistics of a batch of logits, example by example: what difficulty is computed from."""

from __future__ import annotations

from typing import final

import attrs
import numpy as np

from sat_core.errors import DataError

_CHUNK = 1 << 17
"""Logits handled at a time: half a MiB of float32, which with two more arrays of that size stays in a core's cache."""

LARGEST = 1e30
"""Loss and logit margin are limited to this, so that a logit of -∞ gives no mean of ∞."""

_FAR = 16.0
"""Nats. A row in which another class is further above the label than this is computed anew in float64."""


@final
@attrs.frozen
class Moments:
    """Statistics of each row of a batch of logits, float64 `(n,)`.

    Attributes:
        entropy: Softmax entropy in nats.
        probability: p(label).
        error: 1 where the prediction is wrong, else 0.
        margin: p(label) minus the highest other probability.
        loss: Cross-entropy, -log p(label), in nats.
        logit_margin: Logit of the label minus the highest other logit (Pleiss et al. 2020, Eq. 1).
        el2n: ‖p - onehot(label)‖₂ (Paul et al. 2021, Definition 2.2).
    """

    entropy: np.ndarray
    probability: np.ndarray
    error: np.ndarray
    margin: np.ndarray
    loss: np.ndarray
    logit_margin: np.ndarray
    el2n: np.ndarray


STATISTICS = len(attrs.fields(Moments))
"""Number of statistics of an example: rows of the `(7, n)` that a backend computes, in the order of `Moments`."""


def entropy(logits: np.ndarray) -> np.ndarray:
    """Return the softmax entropy of each row of logits in nats, float64 `(n,)` (paper, Eq. 3).

    With s = z - max z: H = log Σ e^s - Σ s e^s / Σ e^s, which is stable for huge logits.

    Raises:
        DataError: A logit is NaN.

    >>> entropy(np.array([[0.0, 0.0], [1e30, -1e30]])).round(6).tolist()
    [0.693147, 0.0]
    """
    return moments(logits, np.zeros(len(logits), np.int64)).entropy


def moments(logits: np.ndarray, labels: np.ndarray) -> Moments:
    """Return the statistics of each row of logits.

    Of float32 logits the entropy is right to about 5e-6 nats, and to 1e-6 where the label has the highest logit. Loss
    and EL2N keep their relative precision where they are nearly 0.

    Args:
        logits: `(n, k)`, any type of floats.
        labels: Classes, int64 `(n,)`.

    Raises:
        DataError: A logit is NaN.
    """
    n, k = logits.shape
    rows = max(1, min(n, _CHUNK // max(1, k)))
    dtype = np.result_type(logits.dtype, np.float32)  # sums of e^s would overflow in float16
    # Two buffers for all chunks: fetching memory for arrays of n x k is a good part of scipy's time.
    buffers, ones, sums = np.empty((2, rows, k), dtype), np.ones(k, dtype), np.empty((4, n), dtype)
    # Rows that overflow here are `far` below, and computed anew.
    with np.errstate(invalid="ignore", over="ignore"):
        for start in range(0, n, rows):
            part = slice(start, min(start + rows, n))
            shifted, weight = buffers[:, : part.stop - start]
            _chunk(logits[part], labels[part], shifted, weight, ones, sums[:, part])
        rest, product, squares, other = sums.astype(np.float64)
        # The label's own s is 0: s counts from its logit.
        statistics = _statistics(rest, product, squares, 0.0, other)
        # e^(z - z_label) loses precision, or overflows, where the label is far from the highest logit
        # "not <=", so that NaN is far, too; a logit of -∞ makes the product NaN (-∞ · 0), and nothing else of the row
        far = np.flatnonzero(~(other <= _FAR) | np.isnan(product))
        if len(far):
            statistics[:, far] = _stable(logits[far].astype(np.float64), labels[far])
    if np.isnan(statistics[0]).any():
        raise DataError("logits: expected finite numbers, got NaN; the classifier has diverged")
    return Moments(*statistics)


def _chunk(z: np.ndarray, y: np.ndarray, s: np.ndarray, e: np.ndarray, ones: np.ndarray, out: np.ndarray) -> None:
    """Write Σ e^s, Σ s e^s, Σ e^2s and the highest s of the other classes into `out` `(4, n)`, where s = z - z_label.

    Subtracting the label's logit, not the highest, saves a pass over all logits.
    """
    at = np.arange(len(y)), y
    np.subtract(z, z[at][:, None], out=s, dtype=s.dtype)
    np.exp(s, out=e)
    # The label's own e^s is 1. Sums without it keep the digits of a loss that is nearly 0: log(1 + rest).
    e[at] = 0
    # A product with ones is a sum by BLAS: more than three times as fast as e.sum(axis=1).
    np.matmul(e, ones, out=out[0])
    np.vecdot(s, e, out=out[1])
    np.vecdot(e, e, out=out[2])
    # Last, because it overwrites s: the label is not among the other classes.
    s[at] = -np.inf
    s.max(axis=1, out=out[3])


def _stable(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Statistics of float64 logits of any size."""
    at = np.arange(len(y)), y
    s = z - z.max(axis=1, keepdims=True, initial=-np.inf)
    e, own = np.exp(s), s[at]
    e[at] = 0
    product = np.vecdot(np.maximum(s, -1e4), e)  # -∞ · e^-∞ would be NaN
    s[at] = -np.inf
    return _statistics(e.sum(axis=1), product, np.vecdot(e, e), own, s.max(axis=1, initial=-np.inf))


def _statistics(
    rest: np.ndarray, product: np.ndarray, squares: np.ndarray, own: np.ndarray | float, other: np.ndarray
) -> np.ndarray:
    """Statistics `(7, n)` in the order of `Moments`, where s are the logits up to a constant.

    Args:
        rest: Σ e^s of each row over the classes other than the label, as are the next two.
        product: Σ s e^s.
        squares: Σ e^2s.
        own: s of the label.
        other: Highest s of another class.
    """
    label = np.exp(own)
    total = rest + label
    p = label / total
    with np.errstate(divide="ignore"):  # log 0 = -∞ where no other class has any probability, and a loss of 0
        loss = np.logaddexp(0.0, np.log(rest) - own)
    entropy = np.log(total) - (product + np.maximum(own, -1e4) * label) / total
    # "other > own": a label that ties with another class counts as predicted.
    rows = [entropy, p, other > own, p - np.exp(other) / total, loss, own - other, np.sqrt(rest**2 + squares) / total]
    statistics = np.stack(rows)
    np.clip(statistics[4:6], -LARGEST, LARGEST, out=statistics[4:6])
    return statistics
