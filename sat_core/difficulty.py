"""How difficult each example is: statistics of a non-robust classifier's outputs, streamed over its training.

The recorder's memory is O(N): nothing of size N x k is kept.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import final

import attrs
import numpy as np

from sat_core.errors import DataError
from sat_core.registry import Registry

_CHUNK = 1 << 18
"""Logits handled at a time: 1 MiB of float32, which stays in a core's cache."""


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
    """Entropy, p(label), error and margin of each row of `logits` `(n, k)` with `labels` `(n,)`."""
    n, k = logits.shape
    out = np.empty((4, n))
    rows = max(1, _CHUNK // max(1, k))
    shifted = np.empty((min(rows, n), k), logits.dtype if logits.dtype.kind == "f" else np.float64)
    weight = np.empty_like(shifted)
    for start in range(0, n, rows):
        stop = min(start + rows, n)
        _chunk(
            logits[start:stop], labels[start:stop], shifted[: stop - start], weight[: stop - start], out[:, start:stop]
        )
    if np.isnan(out[0]).any():
        raise DataError("logits: expected finite numbers, got NaN; the classifier has diverged")
    return Moments(*out)


def _chunk(z: np.ndarray, y: np.ndarray, s: np.ndarray, e: np.ndarray, out: np.ndarray) -> None:
    at = np.arange(len(y)), y
    with np.errstate(invalid="ignore", over="ignore"):
        np.subtract(z, z.max(axis=1, keepdims=True), out=s)
        np.exp(s, out=e)
        total = (e @ np.ones(e.shape[1], e.dtype)).astype(np.float64)
        mean = np.vecdot(s, e) / total
        for row in np.flatnonzero(np.isnan(mean) & ~np.isnan(total)):  # 0 · -∞: logits further apart than floats reach
            mean[row] = np.dot(np.maximum(s[row], -1e4), e[row]) / total[row]
        own, p = s[at], e[at] / total
        best_other = np.zeros_like(own)
        first = np.flatnonzero(own == 0)  # the label has the highest logit: look for the second
        others = s[first]
        others[np.arange(len(first)), y[first]] = -np.inf
        best_other[first] = others.max(axis=1, initial=-np.inf)
        out[:] = np.log(total) - mean, p, best_other > own, p - np.exp(best_other) / total


@final
class Recorder:
    """Collects the four difficulty statistics of N examples while a classifier trains.

    An example is averaged over the forwards in which it was seen, so epochs that drop the last batch need no care.
    """

    _ARRAYS = ("seen", "entropy", "errors", "margin", "mean", "m2")

    def __init__(self, examples: int) -> None:
        self.seen = np.zeros(examples, np.int64)
        self.entropy = np.zeros(examples)
        self.errors = np.zeros(examples)
        self.margin = np.zeros(examples)
        self.mean = np.zeros(examples)
        self.m2 = np.zeros(examples)

    def update(self, index: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> None:
        """Add one forward: example numbers `(n,)`, without repeats; logits `(n, k)`; labels `(n,)`."""
        now = moments(logits, labels)
        self.seen[index] += 1
        self.entropy[index] += now.entropy
        self.errors[index] += now.error
        self.margin[index] += now.margin
        before = now.probability - self.mean[index]  # Welford's running variance
        self.mean[index] += before / self.seen[index]
        self.m2[index] += before * (now.probability - self.mean[index])

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
        return {name: getattr(self, name) for name in self._ARRAYS}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from what `state` returned."""
        for name in self._ARRAYS:
            setattr(self, name, np.array(state[name]))


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
    """Variance over the epochs of p(label). INFERRED: the paper's supplement, which defines "svar", is not public."""

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
