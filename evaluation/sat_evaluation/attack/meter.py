"""Progress of an evaluation."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import numpy as np

from sat_core.evaluation import ROBUST
from sat_evaluation.attack.plan import queries_and_price
from sat_evaluation.attack.record import Record

Progress = Callable[[float, str], None]
"""Called with the share of the work that is done, in [0, 1], and the name of the attack."""


@final
class Meter:
    """Computes which share of the work is done: passes so far over those and the ones that may come.

    The share never falls, because the work that may come is that of examples which no attack breaks. What a batch did
    before memory ran out is done again, and the share waits for it.

    Args:
        record: The evaluation.
        classes: How many the data has.
        progress: Called at every query.
    """

    def __init__(self, record: Record, *, classes: int, progress: Progress | None) -> None:
        self.record, self.progress = record, progress
        s = record.settings
        queries, self.prices = np.array([queries_and_price(attack, classes, s.engine) for attack in s.attacks]).T
        self.costs = queries * self.prices
        self.number, self.used, self.batch, self.later, self.share = 0, 0, 0.0, 0.0, 0.0

    def begin(self, number: int, images: int, waiting: int) -> Callable[[int], None]:
        """Begin a batch; returns a function to be called with the number of images in each of its queries.

        Args:
            number: Place of the attack.
            images: Number of images in the batch.
            waiting: Number of images that the attack gets after it.
        """
        self.number, self.used = number, 0
        self.batch = float(images * self.costs[number])
        robust = int((self.record.broken_by == ROBUST).sum())
        self.later = float(waiting * self.costs[number] + robust * self.costs[number + 1 :].sum())
        return self.count

    def count(self, images: int) -> None:
        """Count a query of so many images."""
        self.used += images
        if self.progress is not None:
            here = self.used * self.prices[self.number]
            done = float(self.record.queries @ self.prices + here)
            # some attacks ask a little more than their budget, as for the order of the target classes
            share = done / (done + max(self.batch - float(here), 0.0) + self.later)
            self.share = max(share, self.share)
            self.progress(self.share, self.record.settings.attacks[self.number].name)
