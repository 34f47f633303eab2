"""Dynamic A: after every so many epochs, A is chosen anew by the difficulty for the network that is being trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import attrs
import numpy as np

from sat_core.classifier import Classifier
from sat_core.data import DataSet
from sat_core.leader import statistics, tell_model
from sat_core.process_group import Command, ProcessGroup
from sat_core.recorder import Recorder
from sat_core.sections import SubsetSpec
from sat_core.splits import Split, make_split, split_of
from sat_core.state import check_state


@final
@attrs.define(kw_only=True, eq=False)
class Reselection:
    """A and B of a training in which A is chosen anew.

    Args:
        split: A and B at its beginning; then those by now.
        subset: How A is chosen, and after how many epochs.
        rule: Name of the weighting rule.
        metric: Which difficulty orders the examples; one that a single evaluation gives.
        data: The data set.
        group: The ranks that train together.
    """

    split: Split
    subset: SubsetSpec
    rule: str
    metric: str
    data: DataSet
    group: ProcessGroup

    def due(self, epoch: int, epochs: int) -> bool:
        """Return whether A is chosen anew after `epoch` (from 1) of `epochs`: not after the last."""
        return epoch < epochs and epoch % self.subset.rerank == 0

    def choose(self, classifier: Classifier) -> Split:
        """Evaluate all training examples, without augmentation, on all ranks; returns the new A and B.

        Raises:
            DataError: The network gives NaN.
        """
        train = self.data.train
        tell_model(classifier, self.group)
        self.group.lead(Command.RECORD)
        recorder = Recorder(len(train), 1)
        recorder.add(np.arange(len(train)), statistics(classifier, train, self.group), 0)
        scores = recorder.score(self.metric)
        self.split = make_split(self.subset, self.rule, self.data, scores=scores)
        self.tell()
        return self.split

    def tell(self) -> None:
        """Have the other ranks plan with the split."""
        if self.group.size > 1:
            self.group.lead(Command.SPLIT)
            self.group.broadcast(self.split.units)

    def state(self) -> dict[str, np.ndarray]:
        """Return the members of A for a checkpoint: their numbers, or those of their classes."""
        return {"units": self.split.units}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue with the A that `state` returned; CheckpointError if it has another size."""
        check_state(self.state(), state, "members of A")
        units = state["units"]
        self.split = split_of(units, len(units), self.subset, self.rule, self.data)
