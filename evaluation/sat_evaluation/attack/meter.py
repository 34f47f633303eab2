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
        self.number, self.used, self.times = 0, 0, 1.0
        self.batch, self.later, self.share = 0.0, 0.0, 0.0

    def begin(self, number: int, images: int, left: int, together: int) -> Callable[[int], None]:
        """Begin a batch; returns a function to be called with the number of images in each of its queries.

        Args:
            number: Place of the attack.
            images: Number of images in the batch.
            left: Number of images that the attack has not done yet, those of the batch among them.
            together: Up to how many of these all ranks attack now. They are taken to be as far as this one.
        """
        self.number, self.used = number, 0
        now = min(left, together)
        self.times = now / images
        self.batch = float(now * self.costs[number])
        robust = int((self.record.broken_by == ROBUST).sum())
        self.later = float((left - now) * self.costs[number] + robust * self.costs[number + 1 :].sum())
        return self.count

    def count(self, images: int) -> None:
        """Count a query of so many images."""
        self.used += images
        if self.progress is None:
            return
        here = float(self.used * self.prices[self.number]) * self.times
        done = float(self.record.queries @ self.prices) + here
        # some attacks ask a little more than their budget, as for the order of the target classes
        share = done / (done + max(self.batch - here, 0.0) + self.later)
        self.share = max(share, self.share)
        self.tell(self.number)

    def tell(self, number: int) -> None:
        """Tell how much is done, and that attack `number` runs; what is called may raise a stop."""
        if self.progress is not None:
            self.progress(self.share, self.record.settings.attacks[number].name)
