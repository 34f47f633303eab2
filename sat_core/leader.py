"""What rank 0 of a group does so that a training or a ranking runs on all of its ranks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import final

import attrs
import numpy as np

from sat_core.classifier import Classifier, State
from sat_core.data import Examples
from sat_core.epoch_plan import EpochPlan, joined
from sat_core.errors import Interrupted
from sat_core.moments import Moments, moments
from sat_core.process_group import Command, ProcessGroup
from sat_core.trainer import Trainer

PART = 1024
"""Images whose statistics are computed at a time: those that are decoded on demand do not all fit into memory."""


@contextmanager
def leading(group: ProcessGroup) -> Iterator[None]:
    """Lead the other ranks, which `sat_core.follower.follow`, through a job; they end with it.

    After any other error than a requested stop they are told nothing: this process ends, and they with it. Nobody knows
    what they wait for.
    """
    try:
        yield
    except Interrupted:
        group.lead(Command.END)
        raise
    group.lead(Command.END)


@final
class Leader(Trainer):
    """A trainer on all ranks of a group: makes the calls of its own on rank 0, and has the others make them.

    Args:
        trainer: Of this rank, whose backend has joined the group.
        classifier: What it trains.
        group: All ranks.
    """

    def __init__(self, trainer: Trainer, classifier: Classifier, group: ProcessGroup) -> None:
        self._trainer, self._classifier, self._group = trainer, classifier, group
        self._same = False

    def share(self, plan: EpochPlan) -> EpochPlan:
        return plan.share(self._group.rank, self._group.size)

    def begin(self, plan: EpochPlan, *, record: bool = False) -> None:
        if not self._same:
            # Once, whatever the others have drawn: weights and buffers of this rank, new or from a checkpoint.
            self._group.lead(Command.STATE)
            self._group.broadcast((self._classifier.state(), self._trainer.state()))
            self._same = True
        self._group.lead(Command.BEGIN, plan.epoch, int(record))
        self._trainer.begin(self.share(plan), record=record)

    def step(self, number: int, images: np.ndarray | None = None) -> None:
        self._group.lead(Command.STEP, number)
        self._trainer.step(number, images)

    def losses(self, first: int, last: int) -> np.ndarray:
        self._group.lead(Command.LOSSES, first, last)
        return np.sum(self._group.gather(self._trainer.losses(first, last)), axis=0)

    def moments(self, first: int, last: int) -> Moments:
        self._group.lead(Command.MOMENTS, first, last)
        shares = [attrs.astuple(share) for share in self._group.gather(self._trainer.moments(first, last))]
        steps = last - first
        return Moments(
            *(joined([a.reshape(steps, -1) for a in arrays]).ravel() for arrays in zip(*shares, strict=True))
        )

    def logits(self) -> np.ndarray:
        self._group.lead(Command.LOGITS)
        return joined([share[None] for share in self._group.gather(self._trainer.logits())])[0]

    def order(self, first: int, last: int) -> np.ndarray:
        return self._trainer.order(first, last)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        with self._trainer.averaged():
            yield
        # What was evaluated inside, the others have now (`tell_model`).
        self._same = False

    def state(self) -> State:
        return self._trainer.state()

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        self._trainer.load_state(state)
        self._same = False


def tell_model(classifier: Classifier, group: ProcessGroup) -> None:
    """Give all ranks the weights and statistics that rank 0 has."""
    if group.size > 1:
        group.lead(Command.MODEL)
        group.broadcast(classifier.state())


def statistics(classifier: Classifier, data: Examples, group: ProcessGroup) -> Moments:
    """Return the statistics of all examples, computed by all ranks, in evaluation mode and without augmentation."""
    parts = np.array_split(np.arange(len(data)), -(-len(data) // PART))
    shares = group.dealt(parts, lambda part: moments(classifier.logits(data.images[part]), data.labels[part]))
    return Moments(*map(np.concatenate, zip(*map(attrs.astuple, shares), strict=True)))
