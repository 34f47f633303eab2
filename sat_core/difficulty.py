"""How difficult each example is: statistics of the outputs of a non-robust classifier, collected as it trains.

The recorder's memory is O(N): logits of N x k values are used and dropped batch by batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import final

import attrs
import numpy as np

from sat_core.errors import DataError
from sat_core.registry import Registry
from sat_core.state import check_state

_CHUNK = 1 << 17
"""Logits handled at a time: half a MiB of float32, which with two more arrays of that size stays in a core's cache."""

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
    """

    entropy: np.ndarray
    probability: np.ndarray
    error: np.ndarray
    margin: np.ndarray


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
    """Return entropy, p(label), error and margin of each row of logits.

    Of float32 logits the entropy is right to about 5e-6 nats, and to 1e-6 where the label has the highest logit.

    Args:
        logits: `(n, k)`, any type of floats.
        labels: Classes, int64 `(n,)`.

    Raises:
        DataError: A logit is NaN.
    """
    n, k = logits.shape
    rows = max(1, min(n, _CHUNK // max(1, k)))
    dtype = logits.dtype if logits.dtype.kind == "f" else np.dtype(np.float64)
    # Two buffers for all chunks: fetching memory for arrays of n x k is a good part of scipy's time.
    buffers, ones, sums = np.empty((2, rows, k), dtype), np.ones(k, dtype), np.empty((3, n), dtype)
    # Rows that overflow here are `far` below, and computed anew.
    with np.errstate(invalid="ignore", over="ignore"):
        for start in range(0, n, rows):
            part = slice(start, min(start + rows, n))
            shifted, weight = buffers[:, : part.stop - start]
            _chunk(logits[part], labels[part], shifted, weight, ones, sums[:, part])
        total, product, other = sums.astype(np.float64)
        # The label's own s is 0: s counts from its logit.
        statistics = _statistics(total, product, np.zeros(n), other)
        # e^(z - z_label) loses precision, or overflows, where the label is far from the highest logit
        # "not <=", so that NaN is far, too; a logit of -∞ makes the product NaN (-∞ · 0), and nothing else of the row
        far = np.flatnonzero(~(other <= _FAR) | np.isnan(product))
        statistics[:, far] = _stable(logits[far].astype(np.float64), labels[far])
    if np.isnan(statistics[0]).any():
        raise DataError("logits: expected finite numbers, got NaN; the classifier has diverged")
    return Moments(*statistics)


def _chunk(z: np.ndarray, y: np.ndarray, s: np.ndarray, e: np.ndarray, ones: np.ndarray, out: np.ndarray) -> None:
    """Write Σ e^s, Σ s e^s and the highest s of another class into `out` `(3, n)`, where s = z - z_label.

    Subtracting the label's logit, not the highest, saves a pass over all logits.
    """
    at = np.arange(len(y)), y
    np.subtract(z, z[at][:, None], out=s)
    np.exp(s, out=e)
    # A product with ones is a sum by BLAS: more than three times as fast as e.sum(axis=1).
    np.matmul(e, ones, out=out[0])
    np.vecdot(s, e, out=out[1])
    # Last, because it overwrites s: the label is not among the other classes.
    s[at] = -np.inf
    s.max(axis=1, out=out[2])


def _stable(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Statistics of float64 logits of any size."""
    at = np.arange(len(y)), y
    s = z - z.max(axis=1, keepdims=True, initial=-np.inf)
    e, own = np.exp(s), s[at]
    product = np.vecdot(np.maximum(s, -1e4), e)  # -∞ · e^-∞ would be NaN
    s[at] = -np.inf
    return _statistics(e.sum(axis=1), product, own, s.max(axis=1, initial=-np.inf))


def _statistics(total: np.ndarray, product: np.ndarray, own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Statistics `(4, n)` in the order of `Moments`, where s are the logits up to a constant.

    Args:
        total: Σ e^s of each row.
        product: Σ s e^s.
        own: s of the label.
        other: Highest s of another class.
    """
    # "other > own": a label that ties with another class counts as predicted.
    p = np.exp(own) / total
    return np.stack([np.log(total) - product / total, p, other > own, p - np.exp(other) / total])


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return Spearman's ρ of two arrays `(n,)`, in [-1, 1]; 0 if one of them is constant. Ties share their mean rank.

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

    Each example is averaged over the forward passes in which it was seen: epochs drop their last, incomplete batch.
    """

    _ARRAYS = ("seen", "entropy", "errors", "margin", "mean", "m2")

    def __init__(self, examples: int) -> None:
        self._table = np.zeros((examples, len(self._ARRAYS)))  # the columns of an example side by side: one cache line
        self.seen, self.entropy, self.errors, self.margin, self.mean, self.m2 = self._table.T

    def update(self, index: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> None:
        """Add the outputs of one forward pass.

        Args:
            index: Numbers of the examples, `(n,)`, each once.
            logits: `(n, k)`.
            labels: Their classes, int64 `(n,)`.
        """
        self.add(index, moments(logits, labels))

    def add(self, index: np.ndarray, batch: Moments) -> None:
        """Add the statistics of one forward pass of the examples numbered `index`, `(n,)`, each once."""
        # A copy of the rows, changed through views of its columns and written back at once: one random access per
        # example instead of six each way. A number that is there twice would be counted once.
        rows = self._table[index]
        seen, entropy, errors, margin, mean, m2 = rows.T
        seen += 1
        entropy += batch.entropy
        errors += batch.error
        margin += batch.margin
        before = batch.probability - mean  # Welford's running variance
        mean += before / seen
        m2 += before * (batch.probability - mean)
        self._table[index] = rows

    def scores(self) -> dict[str, np.ndarray]:
        """Return the difficulty of each example by metric, float64 `(N,)`; higher is harder.

        Raises:
            DataError: An example was never seen.
        """
        unseen = int((self.seen == 0).sum())
        if unseen:
            raise DataError(
                f"ranking: {unseen} of {len(self.seen)} examples were never seen in training\n"
                "raise ranking.epochs or lower training.batch_size (the last incomplete batch of an epoch is dropped)"
            )
        return {name: DIFFICULTIES.get(name).score(self) for name in DIFFICULTIES}

    def state(self) -> dict[str, np.ndarray]:
        """Return everything collected, as named arrays of size N."""
        return {name: column.copy() for name, column in zip(self._ARRAYS, self._table.T, strict=True)}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from what `state` returned; CheckpointError if it was for another number of examples."""
        check_state(self.state(), state, "recorder")
        for name, column in zip(self._ARRAYS, self._table.T, strict=True):
            column[:] = state[name]


class Difficulty(ABC):
    """A metric of difficulty over what a `Recorder` collected."""

    name: str

    @abstractmethod
    def score(self, recorder: Recorder) -> np.ndarray:
        """Return the difficulty of every example, float64 `(N,)`; higher is harder."""


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
        # Of the epochs themselves, not of a larger population: no n - 1, so that one epoch gives 0.
        return recorder.m2 / recorder.seen


class Margin(Difficulty):
    """Minus the mean over epochs of p(label) - highest other probability."""

    name = "margin"

    def score(self, recorder: Recorder) -> np.ndarray:
        return -recorder.margin / recorder.seen


DIFFICULTIES: Registry[Difficulty] = Registry("difficulty metric")
for _metric in (Entropy(), ErrorFrequency(), SoftmaxVariance(), Margin()):
    DIFFICULTIES.register(_metric.name, _metric)
