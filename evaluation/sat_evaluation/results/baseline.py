"""The two baselines: plain training, where A is empty, and full adversarial training, where A is everything."""

from __future__ import annotations

from enum import StrEnum


class Baseline(StrEnum):
    """An arm that selects no subset. The value stands in place of |A| in tables."""

    PLAIN = "none"
    FULL = "all"

    @classmethod
    def of(cls, size: int, total: int) -> Baseline | None:
        """Return which baseline an arm with |A| = `size` of `total` training examples is; None for a proper subset."""
        return cls.PLAIN if size == 0 else cls.FULL if size == total else None

    @property
    def label(self) -> str:
        """What it is called in tables, figures and texts."""
        return "plain training" if self is Baseline.PLAIN else "full AT"
