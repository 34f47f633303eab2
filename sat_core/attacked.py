"""How often each training example was attacked, so that "never attacked" is said of none that was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import attrs
import numpy as np

from sat_core.result_parts import SplitSummary
from sat_core.splits import Split
from sat_core.state import check_state


@final
class Attacked:
    """Counts in how many steps each training example was attacked.

    Args:
        split: A and B as they were chosen before the training.

    Attributes:
        counts: int32 `(N,)`.
    """

    def __init__(self, split: Split) -> None:
        self._first = split
        self.counts = np.zeros(len(split.members), np.int32)

    def add(self, index: np.ndarray, members: np.ndarray) -> None:
        """Count the members of some batches.

        Args:
            index: Numbers of the examples, `(s, n)`, members first; no example is in two batches.
            members: How many there are in each batch, `(s,)`.
        """
        self.counts[index[np.arange(index.shape[1]) < members[:, None]]] += 1

    def summary(self) -> SplitSummary:
        """Return what results say of the split, with how many examples were attacked at least once."""
        ever = self.counts > 0
        outside = ever & ~self._first.members
        return attrs.evolve(self._first.summary(), attacked=int(ever.sum()), attacked_in_b=int(outside.sum()))

    def state(self) -> dict[str, np.ndarray]:
        """Return the counts for a checkpoint."""
        return {"counts": self.counts.copy()}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from what `state` returned; CheckpointError if it was for another number of examples."""
        check_state(self.state(), state, "counts of attacked examples")
        self.counts[:] = state["counts"]
