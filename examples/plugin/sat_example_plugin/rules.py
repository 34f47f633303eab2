"""Which examples are attacked."""

from __future__ import annotations

import numpy as np

from sat_core.selection import SelectionRule


class Middle(SelectionRule):
    """Takes units from the middle of the ranking outwards: neither the hardest nor the easiest."""

    name = "middle"
    needs_all = True

    def order(self, ranking: np.ndarray, listed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return ranking[np.argsort(np.abs(np.arange(len(ranking)) - len(ranking) / 2), kind="stable")]


MIDDLE = Middle()
