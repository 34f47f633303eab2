"""Which units (examples or classes) go into A, given how difficult each is (paper, section 3.1)."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from sat_core.errors import SatError, SpecError, brief
from sat_core.registry import Registry

LOOKING = ("hardest", "boundary")
"""Ways in which a batch chooses its members that look at the network as it is, so that the choice is in the step."""


class SelectionRule(ABC):
    """Orders the units; A is made of the first ones.

    Attributes:
        name: What it is called in a study file.
        needs_ranking: Whether it looks at the difficulty of units.
        needs_all: Whether the ranking has to have every unit, because the rule looks at its end.
        online: How each batch chooses its members, ``random``, ``hardest`` or ``boundary``; empty where A is chosen
            from all units before the training. See `sat_core.online`.
        draws: Whether ``subset.seed`` changes what it chooses. Where it does not, arms that differ in it alone are one.
    """

    name: str
    needs_ranking: bool = True
    needs_all: bool = False
    online: str = ""
    draws: bool = True

    @abstractmethod
    def order(self, ranking: np.ndarray, listed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return unit numbers, int64, those that go into A first.

        Args:
            ranking: All units, hardest first, int64; in any order if the rule needs no ranking.
            listed: Units that the user named, int64.
            rng: For random orders.
        """


class Hardest(SelectionRule):
    """Takes the hardest units first, by default those with the highest mean entropy of a non-robust classifier."""

    name = "hardest"
    draws = False

    def order(self, ranking: np.ndarray, listed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return ranking


class Easiest(SelectionRule):
    """Takes the easiest units first: the order of `Hardest` reversed (recipe, section 2)."""

    name = "easiest"
    needs_all = True
    draws = False

    def order(self, ranking: np.ndarray, listed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return ranking[::-1]


class Random(SelectionRule):
    """Takes units in an order drawn from the seed of the arm."""

    name = "random"
    needs_ranking = False

    def order(self, ranking: np.ndarray, listed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        # An order of all units, not a draw of |A|: with one seed, a larger A contains every smaller one.
        return rng.permutation(len(ranking))


class Listed(SelectionRule):
    """Takes the units that the user named, and no others."""

    name = "listed"
    needs_ranking = False
    draws = False

    def order(self, ranking: np.ndarray, listed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return listed


class OnlineRandom(SelectionRule):
    """Attacks random images of each batch, drawn from ``subset.seed`` and the epoch."""

    name = "online-random"
    needs_ranking = False
    online = "random"

    def order(self, ranking: np.ndarray, listed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        # No example is in A for the whole training.
        return ranking[:0]


class OnlineHardest(OnlineRandom):
    """Attacks the images of each batch with the lowest margin p_y - max_{k≠y} p_k for the network as it is."""

    name = "online-hardest"
    online = "hardest"
    draws = False


class OnlineBoundary(OnlineRandom):
    """Attacks the images of each batch nearest to the decision boundary, those with the lowest |margin|.

    BulletTrain (Hua et al. 2021) spends attacks on boundary examples; Selective AT (arXiv 2512.22069) attacks those of
    each batch with the smallest margin.
    """

    name = "online-boundary"
    online = "boundary"
    draws = False


SELECTION_RULES: Registry[SelectionRule] = Registry("selection strategy", "sat_core.selection_rules", of=SelectionRule)
for _rule in (Hardest(), Easiest(), Random(), Listed(), OnlineRandom(), OnlineHardest(), OnlineBoundary()):
    SELECTION_RULES.register(_rule.name, _rule)


def draws(strategy: str) -> bool:
    """Return whether ``subset.seed`` changes what a strategy chooses; of plug-ins that are not loaded, it may."""
    return strategy not in SELECTION_RULES.loaded() or SELECTION_RULES.get(strategy).draws


def ordered(
    rule: SelectionRule, ranking: np.ndarray, listed: np.ndarray, rng: np.random.Generator, number: int, units: int
) -> np.ndarray:
    """Return the order of a rule, int64, which may be a plug-in's; none where each batch chooses its own members.

    Args:
        rule, ranking, listed, rng: As in `SelectionRule.order`.
        number: How many of the units go into A.
        units: Number of all units.

    Raises:
        SpecError: The rule raises, or what it returns is not at least `number` units, each once.
    """
    if rule.online:
        return ranking[:0]
    try:
        order = np.asarray(rule.order(ranking, listed, rng))
    except SatError:
        raise
    except Exception as error:  # a plug-in may raise anything
        raise SpecError(f"{SELECTION_RULES.kind} {rule.name!r}: {brief(error)}") from error
    got = ""
    if order.ndim != 1 or order.dtype.kind not in "iu":
        got = f"an array {order.shape} of {order.dtype}"
    elif len(order) and not 0 <= order.min() <= order.max() < units:
        got = f"numbers in {order.min()}..{order.max()}"
    elif np.bincount(order.astype(np.int64), minlength=1).max() > 1:
        got = f"{len(order)}, of which {len(np.unique(order))} are different"
    elif len(order) < number:
        got = f"{len(order)}"
    if got:
        raise SpecError(
            f"{SELECTION_RULES.kind} {rule.name!r}: expected the numbers of at least {number} units, each once and in "
            f"0..{units - 1}, got {got}"
        )
    return order.astype(np.int64, copy=False)
