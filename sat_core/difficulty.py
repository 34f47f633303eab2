"""How difficult each example is: statistics of a non-robust classifier's outputs, streamed over its training.

The recorder's memory is O(N): nothing of size N x k is kept.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import final

import attrs
import numpy as np

from sat_core.checkpoint import check_state
from sat_core.errors import DataError
from sat_core.registry import Registry

_CHUNK = 1 << 17
"""Logits handled at a time: half a MiB of float32, which with two more arrays of that size stays in a core's cache."""

_FAR = 16.0
"""Nats. Where another class is further above the label than this, a row is computed anew in float64."""


@final
@attrs.frozen
class Moments:
    """What one batch of logits says, each `(n,)` float64: entropy in nats, p(label), error, margin in probability."""

    entropy: np.ndarray
    probability: np.ndarray
    error: np.ndarray
    margin: np.ndarray


def entropy(logits: np.ndarray) -> np.ndarray:
    """Softmax entropy of each row in nats, float64 `(n,)`; stable for huge logits (paper, Eq. 3).

    With s = z - max z: H = log Σ e^s - Σ s e^s / Σ e^s. Raises DataError for NaN.

    >>> entropy(np.array([[0.0, 0.0], [1e30, -1e30]])).round(6).tolist()
    [0.693147, 0.0]
    """
    return moments(logits, np.zeros(len(logits), np.int64)).entropy


def moments(logits: np.ndarray, labels: np.ndarray) -> Moments:
    """Entropy, p(label), error and margin of each row of `logits` `(n, k)` with `labels` `(n,)`.

    Of float32 logits the entropy is right to about 5e-6 nats, where the label has the highest logit to 1e-6.
    """
    n, k = logits.shape
    rows = max(1, min(n, _CHUNK // max(1, k)))
    dtype = logits.dtype if logits.dtype.kind == "f" else np.dtype(np.float64)
    buffers, ones, sums = np.empty((2, rows, k), dtype), np.ones(k, dtype), np.empty((3, n), dtype)
    with np.errstate(invalid="ignore", over="ignore"):
        for start in range(0, n, rows):
            part = slice(start, min(start + rows, n))
            shifted, weight = buffers[:, : part.stop - start]
            _chunk(logits[part], labels[part], shifted, weight, ones, sums[:, part])
        total, product, other = sums.astype(np.float64)
        found = _statistics(total, product, np.zeros(n), other)
        far = np.flatnonzero(~(other <= _FAR) | np.isnan(product))
        found[:, far] = _stable(logits[far].astype(np.float64), labels[far])
    if np.isnan(found[0]).any():
        raise DataError("logits: expected finite numbers, got NaN; the classifier has diverged")
    return Moments(*found)


def _chunk(z: np.ndarray, y: np.ndarray, s: np.ndarray, e: np.ndarray, ones: np.ndarray, out: np.ndarray) -> None:
    """Into `out` `(3, n)`: Σ e^s, Σ s e^s and the highest s of another class, where s = z - z_label.

    Nothing but what has to pass over all logits, with the label's logit in the place of the highest: one pass less.
    """
    at = np.arange(len(y)), y
    np.subtract(z, z[at][:, None], out=s)
    np.exp(s, out=e)
    np.matmul(e, ones, out=out[0])
    np.vecdot(s, e, out=out[1])
    s[at] = -np.inf
    s.max(axis=1, out=out[2])


def _stable(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The statistics of float64 logits, however large they are."""
    at = np.arange(len(y)), y
    s = z - z.max(axis=1, keepdims=True, initial=-np.inf)
    e, own = np.exp(s), s[at]
    product = np.vecdot(np.maximum(s, -1e4), e)  # and not 0 · -∞
    s[at] = -np.inf
    return _statistics(e.sum(axis=1), product, own, s.max(axis=1, initial=-np.inf))


def _statistics(total: np.ndarray, product: np.ndarray, own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """`(4, n)`, in the order of `Moments`. With s the logits up to a constant: Σ e^s, Σ s e^s, s of the label, highest
    s of another class.
    """
    p = np.exp(own) / total
    return np.stack([np.log(total) - product / total, p, other > own, p - np.exp(other) / total])


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's ρ of two arrays `(n,)`, in [-1, 1]; ties share their mean rank. 0 if one of them is constant.

    >>> round(rank_correlation(np.array([1.0, 2.0, 2.0, 9.0]), np.array([4, 3, 2, 1])), 4)
    -0.9487
    """
    first, second = _ranks(a), _ranks(b)
    size = np.linalg.norm(first) * np.linalg.norm(second)
    return float(first @ second / size) if size else 0.0


def _ranks(values: np.ndarray) -> np.ndarray:
    """Mean ranks, centred at 0."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place] - (len(values) + 1) / 2


@final
class Recorder:
    """Collects the four difficulty statistics of N examples while a classifier trains.

    An example is averaged over the forwards in which it was seen, so epochs that drop the last batch need no care.
    """

    _ARRAYS = ("seen", "entropy", "errors", "margin", "mean", "m2")

    def __init__(self, examples: int) -> None:
        self._table = np.zeros((examples, len(self._ARRAYS)))  # what is known of an example lies side by side
        self.seen, self.entropy, self.errors, self.margin, self.mean, self.m2 = self._table.T

    def update(self, index: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> None:
        """Add one forward: example numbers `(n,)`, without repeats; logits `(n, k)`; labels `(n,)`."""
        now = moments(logits, labels)
        rows = self._table[index]
        seen, entropy, errors, margin, mean, m2 = rows.T
        seen += 1
        entropy += now.entropy
        errors += now.error
        margin += now.margin
        before = now.probability - mean  # Welford's running variance
        mean += before / seen
        m2 += before * (now.probability - mean)
        self._table[index] = rows

    def scores(self) -> dict[str, np.ndarray]:
        """Difficulty of each example by metric, float64 `(N,)`, higher is harder. DataError if one was never seen."""
        unseen = int((self.seen == 0).sum())
        if unseen:
            raise DataError(
                f"ranking: {unseen} of {len(self.seen)} examples were never seen in training\n"
                "raise ranking.epochs or lower training.batch_size (the last incomplete batch of an epoch is dropped)"
            )
        return {name: DIFFICULTIES.get(name).score(self) for name in DIFFICULTIES}

    def state(self) -> dict[str, np.ndarray]:
        """Everything collected, as named arrays of size N."""
        return {name: column.copy() for name, column in zip(self._ARRAYS, self._table.T, strict=True)}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from what `state` returned; CheckpointError if that was another's."""
        check_state(self.state(), state, "recorder")
        for name, column in zip(self._ARRAYS, self._table.T, strict=True):
            column[:] = state[name]


class Difficulty(ABC):
    """A metric over a `Recorder`."""

    name: str

    @abstractmethod
    def score(self, recorder: Recorder) -> np.ndarray:
        """Difficulty of every example, float64 `(N,)`, higher is harder."""


class Entropy(Difficulty):
    """Softmax entropy in nats, averaged over epochs (paper, Eq. 3)."""

    name = "entropy"

    def score(self, recorder: Recorder) -> np.ndarray:
        return recorder.entropy / recorder.seen


class ErrorFrequency(Difficulty):
    """Share of the epochs in which the example was misclassified."""

    name = "error"

    def score(self, recorder: Recorder) -> np.ndarray:
        return recorder.errors / recorder.seen


class SoftmaxVariance(Difficulty):
    """Variance over the epochs of p(label). INFERRED: the paper's supplement, which defines "svar", is not public.

    Meaningful in a training long enough that easy examples are learned early: hard ones then keep changing, as in the
    published rankings (ρ with the entropy 0.88 to 0.91 over 151 or 201 epochs). In a short one it is the easy examples
    that change, and the order is reversed (ρ = -0.73 with the published class order after 3 epochs on CIFAR-10).
    """

    name = "variance"

    def score(self, recorder: Recorder) -> np.ndarray:
        return recorder.m2 / recorder.seen


class Margin(Difficulty):
    """Minus the mean over epochs of p(label) - highest other probability."""

    name = "margin"

    def score(self, recorder: Recorder) -> np.ndarray:
        return -recorder.margin / recorder.seen


DIFFICULTIES: Registry[Difficulty] = Registry("difficulty metric")
for _metric in (Entropy(), ErrorFrequency(), SoftmaxVariance(), Margin()):
    DIFFICULTIES.register(_metric.name, _metric)
