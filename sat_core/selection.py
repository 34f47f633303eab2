"""Which units (examples or classes) go into A, given how difficult each is (paper, section 3.1)."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from sat_core.registry import Registry


class SelectionRule(ABC):
    """An order of all units; A is made of the first ones."""

    name: str
    needs_ranking: bool = True
    needs_all: bool = False
    """Whether the ranking has to have every unit: the end of a part of it means nothing."""

    @abstractmethod
    def order(self, ranking: np.ndarray, listed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Unit numbers, int64, those that go into A first.

        ranking: all units, hardest first (empty if the rule needs none). listed: units the user named.
        """


class Hardest(SelectionRule):
    """Hardest first: highest mean entropy of a non-robust classifier."""

    name = "hardest"

    def order(self, ranking: np.ndarray, listed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return ranking


class Easiest(SelectionRule):
    """Easiest first: exactly the hardest-first order reversed (recipe, section 2)."""

    name = "easiest"
    needs_all = True

    def order(self, ranking: np.ndarray, listed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return ranking[::-1]


class Random(SelectionRule):
    """In an order drawn from the arm's seed."""

    name = "random"
    needs_ranking = False

    def order(self, ranking: np.ndarray, listed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return rng.permutation(len(ranking))


class Listed(SelectionRule):
    """The units that the user named, and no others."""

    name = "listed"
    needs_ranking = False

    def order(self, ranking: np.ndarray, listed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return listed


SELECTION_RULES: Registry[SelectionRule] = Registry("selection strategy")
for _rule in (Hardest(), Easiest(), Random(), Listed()):
    SELECTION_RULES.register(_rule.name, _rule)
