"""How much of an evaluation is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import numpy as np

from sat_core.evaluation import ROBUST
from sat_evaluation.attack.plan import queries_and_price
from sat_evaluation.attack.record import Record

Progress = Callable[[float, str], None]


@final
class Meter:
    """Share of the work that is done: forward passes so far over those and the ones that may come. It never falls."""

    def __init__(self, record: Record, *, classes: int, report: Progress | None) -> None:
        self.record, self.report = record, report
        s = record.settings
        queries, self.prices = np.array([queries_and_price(attack, classes, s.engine) for attack in s.attacks]).T
        self.costs = queries * self.prices
        self.number, self.used, self.batch, self.later = 0, 0, 0.0, 0.0

    def begin(self, number: int, images: int, waiting: int) -> Callable[[int], None]:
        """A batch of `images` begins, with `waiting` images behind it; returns what hears of its queries."""
        self.number, self.used = number, 0
        self.batch = float(images * self.costs[number])
        robust = int((self.record.broken_by == ROBUST).sum())
        self.later = float(waiting * self.costs[number] + robust * self.costs[number + 1 :].sum())
        return self.count

    def count(self, images: int) -> None:
        """`images` go through the model."""
        self.used += images
        if self.report is not None:
            here = self.used * self.prices[self.number]
            done = float(self.record.queries @ self.prices + here)
            share = done / (done + max(self.batch - float(here), 0.0) + self.later)
            self.report(share, self.record.settings.attacks[self.number].name)
