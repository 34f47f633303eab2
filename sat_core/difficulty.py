"""How difficult each example is: statistics of the outputs of a non-robust classifier, collected as it trains.

The recorder's memory is O(N): logits of N x k values are used and dropped batch by batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import final

import numpy as np

from sat_core.errors import DataError
from sat_core.moments import Moments, moments
from sat_core.registry import Registry
from sat_core.state import check_state


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
    """A metric of difficulty over what a `Recorder` collected.

    Attributes:
        name: What it is called in a study file.
        once: Whether a single evaluation of the examples gives it, so that A can be chosen anew during a training.
    """

    name: str
    once: bool = False

    @abstractmethod
    def score(self, recorder: Recorder) -> np.ndarray:
        """Return the difficulty of every example, float64 `(N,)`; higher is harder."""


class Entropy(Difficulty):
    """Softmax entropy in nats, averaged over epochs (paper, Eq. 3)."""

    name = "entropy"
    once = True

    def score(self, recorder: Recorder) -> np.ndarray:
        return recorder.entropy / recorder.seen


class ErrorFrequency(Difficulty):
    """Share of the epochs in which the example was misclassified."""

    name = "error"
    once = True

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
    once = True

    def score(self, recorder: Recorder) -> np.ndarray:
        return -recorder.margin / recorder.seen


DIFFICULTIES: Registry[Difficulty] = Registry("difficulty metric", "sat_core.difficulties", of=Difficulty)
for _metric in (Entropy(), ErrorFrequency(), SoftmaxVariance(), Margin()):
    DIFFICULTIES.register(_metric.name, _metric)
