"""Collects statistics of the outputs of a classifier as it trains.

The recorder's memory is O(N): logits of N x k values are used and dropped batch by batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import numpy as np

from sat_core.difficulty import DIFFICULTIES, extra_metrics
from sat_core.difficulty_kinds import Recorded, StreamedDifficulty
from sat_core.errors import DataError, SpecError
from sat_core.moments import Moments, moments
from sat_core.state import check_state

_SUMS = ("entropy", "error", "margin", "loss", "logit_margin", "el2n")
"""Statistics that are averaged as they are; p(label) has a running mean and variance."""
_COLUMNS = ("seen", "mean", "m2", "right", "forgotten", "late_seen", "late_entropy", *_SUMS)


@final
class Recorder:
    """Collects what the difficulty of N examples is computed from while a classifier trains.

    Each example is averaged over the forward passes in which it was seen: epochs drop their last, incomplete batch.

    Args:
        examples: Their number N.
        epochs: Of the training, for scores of its last tenth.
    """

    def __init__(self, examples: int, epochs: int) -> None:
        self._table = np.zeros((examples, len(_COLUMNS)))  # the columns of an example side by side: two cache lines
        self._epochs = epochs
        # The last tenth, rounded up.
        self._late = epochs - -(-epochs // 10)

    @property
    def seen(self) -> np.ndarray:
        """How often each example was recorded, `(N,)`."""
        return self._table[:, 0]

    def update(self, index: np.ndarray, logits: np.ndarray, labels: np.ndarray, epoch: int) -> None:
        """Add the outputs of one forward pass.

        Args:
            index: Numbers of the examples, `(n,)`, each once.
            logits: `(n, k)`.
            labels: Their classes, int64 `(n,)`.
            epoch: Of the pass, from 0.
        """
        self.add(index, moments(logits, labels), epoch)

    def add(self, index: np.ndarray, batch: Moments, epoch: int) -> None:
        """Add the statistics of one forward pass of the examples numbered `index`, `(n,)`, each once, in `epoch`.

        Raises:
            DataError: The training has no such epoch.
        """
        if not 0 <= epoch < self._epochs:
            raise DataError(f"recorder: expected an epoch in 0..{self._epochs - 1}, got {epoch}\nthey count from 0")
        # A copy of the rows, changed through views of its columns and written back at once: one random access per
        # example instead of one per column each way. A number that is there twice would be counted once.
        rows = self._table[index]
        seen, mean, m2, right, forgotten, late_seen, late_entropy, *sums = rows.T
        seen += 1
        before = batch.probability - mean  # Welford's running variance
        mean += before / seen
        m2 += before * (batch.probability - mean)
        forgotten += right * batch.error
        right[:] = 1 - batch.error
        # Until the last epochs begin, and at their first recording, the one before is dropped.
        late_entropy *= late_seen > 0
        late_entropy += batch.entropy
        late_seen += epoch >= self._late
        for column, name in zip(sums, _SUMS, strict=True):
            column += getattr(batch, name)
        self._table[index] = rows

    def recorded(self) -> Recorded:
        """Return what was collected of each example.

        Raises:
            DataError: An example was never seen.
        """
        unseen = int((self.seen == 0).sum())
        if unseen:
            raise DataError(
                f"ranking: {unseen} of {len(self.seen)} examples were never seen in training\n"
                "raise ranking.epochs or lower training.batch_size (the last incomplete batch of an epoch is dropped)"
            )
        seen, mean, m2, _, forgotten, late_seen, late_entropy, *sums = self._table.T
        means = {name: column / seen for name, column in zip(_SUMS, sums, strict=True)}
        return Recorded(
            seen=seen.copy(),
            mean=Moments(probability=mean.copy(), **means),
            # Of the epochs themselves, not of a larger population: no n - 1, so that one epoch gives 0.
            variance=m2 / seen,
            forgotten=forgotten.copy(),
            late_entropy=late_entropy / np.maximum(late_seen, 1),
        )

    def scores(self) -> dict[str, np.ndarray]:
        """Return the difficulty of each example by every loaded metric without an extra pass, float64 `(N,)`.

        Higher is harder.

        Raises:
            DataError: An example was never seen, or a plug-in's metric gives no number for one.
        """
        # Not those of packages that happen to be installed: a study loads the metric that it names.
        names = DIFFICULTIES.loaded()
        recorded, extra = self.recorded(), extra_metrics(names)
        return {name: self._score(name, recorded) for name in names if name not in extra}

    def score(self, metric: str) -> np.ndarray:
        """Return the difficulty of each example by one metric; as `scores`."""
        return self._score(metric, self.recorded())

    def _score(self, name: str, recorded: Recorded) -> np.ndarray:
        metric = DIFFICULTIES.get(name)
        if not isinstance(metric, StreamedDifficulty):
            raise SpecError(f"difficulty {name!r}: takes an extra pass, which a recorder does not make; see sat.rank()")
        return metric.scores(recorded)

    def state(self) -> dict[str, np.ndarray]:
        """Return everything collected, as named arrays of size N."""
        return {name: column.copy() for name, column in zip(_COLUMNS, self._table.T, strict=True)}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from what `state` returned; CheckpointError if it was for another number of examples."""
        check_state(self.state(), state, "recorder")
        for name, column in zip(_COLUMNS, self._table.T, strict=True):
            column[:] = state[name]
