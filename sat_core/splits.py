"""Splits: the training set into A (attacked) and B (clean), the validation set into selection and report."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import final

import attrs
import numpy as np

from sat_core.data import DataSet
from sat_core.errors import SpecError, quoted
from sat_core.evaluation_spec import EvaluationSpec
from sat_core.registry import nearest
from sat_core.result_parts import SplitSummary
from sat_core.sections import SubsetSpec
from sat_core.selection import SELECTION_RULES, ordered
from sat_core.streams import stream
from sat_core.weighting import WEIGHTING_RULES

SELECTION_SEED = 90622
"""Seed of the validation permutation in the authors' code (recipe, section 1.3)."""


@final
@attrs.frozen(kw_only=True, eq=False)
class Split:
    """A and B of one arm.

    Attributes:
        kind, strategy: As in the study file.
        members: Which training examples are in A, bool `(N,)`; none where each batch chooses its own.
        classes: The classes in A; None where A is made of examples (ESAT).
        weights: (w_A, w_B).
        online: How each batch chooses its members, ``random``, ``hardest`` or ``boundary``; empty where `members` are.
        drawn: With `online`, q·N for the share q of each batch that is attacked; else 0.
        seed: Of random choices within batches.
        rerank: Epochs after which A is chosen anew; 0 for never.
    """

    kind: str
    strategy: str
    members: np.ndarray
    classes: tuple[int, ...] | None
    weights: tuple[float, float]
    online: str = ""
    drawn: int = 0
    seed: int = 0
    rerank: int = 0

    @property
    def size(self) -> int:
        """|A| in examples; where each batch chooses its own members, how many are attacked in N images."""
        return self.drawn or int(self.members.sum())

    @property
    def moving(self) -> bool:
        """Whether the members of A change during the training, so that B may see an attack, too."""
        return bool(self.online or self.rerank)

    @property
    def units(self) -> np.ndarray:
        """The chosen examples or classes, int64, by rising number."""
        return np.flatnonzero(self.members) if self.classes is None else np.array(self.classes, np.int64)

    def some(self, count: int) -> np.ndarray:
        """Return the first `count` examples of A, int64; of all examples where each batch chooses its own members."""
        return (np.arange(len(self.members)) if self.online else np.flatnonzero(self.members))[:count]

    def example_weights(self, index: np.ndarray) -> np.ndarray:
        """Return w_A or w_B for each of the examples at `index`, float32."""
        return np.where(self.members[index], *self.weights).astype(np.float32)

    def mask_over(self, labels: np.ndarray) -> np.ndarray | None:
        """Return which examples of other data are of the classes in A, bool `(n,)`; None where A has no fixed ones."""
        return None if self.classes is None or self.moving else np.isin(labels, self.classes)

    def summary(self) -> SplitSummary:
        """Return what the results of an arm say of its split."""
        classes = self.classes or ()
        return SplitSummary(
            kind=self.kind,
            strategy=self.strategy,
            size=self.size,
            units=len(classes) if self.kind == "classes" else self.size,
            share=self.size / len(self.members),
            classes=classes,
            weights=self.weights,
            moving=self.moving,
        )


def count(size: int | float, total: int, key: str = "subset.size") -> int:
    """Return `size` as a number of units: an integer is a count, a float a share.

    A share is floor(share · total) in exact arithmetic, because 0.29 · 100 is below 29 in floating point.

    Args:
        size: Count or share.
        total: Number of all units.
        key: Key of the setting, for the message.

    Raises:
        SpecError: It is negative, or more than `total`.

    >>> count(0.3, 10), count(3, 10), count(1.0, 10), count(1, 10)
    (3, 3, 10, 1)
    """
    # repr is the shortest decimal for the float, the number that the user wrote: 0.29 of 100 is 29, int(0.29 * 100) 28.
    number = int(Fraction(repr(size)) * total) if isinstance(size, float) else size
    if not 0 <= number <= total:
        raise SpecError(f"{key}: expected at most {total}, got {quoted(size)}")
    return number


def hardest_first(scores: np.ndarray) -> np.ndarray:
    """Return unit numbers by falling score, int64; equal scores in the order of their numbers."""
    # Not the reverse of a rising sort, which would turn ties around. Unstable sorts may order ties by the machine.
    return np.argsort(-scores, kind="stable")


def class_scores(order_or_scores: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the mean score of the examples of each class, float64 `(classes,)` (paper, Eq. 3)."""
    return np.bincount(labels, order_or_scores, classes) / np.bincount(labels, minlength=classes)


def make_split(
    subset: SubsetSpec,
    rule: str,
    data: DataSet,
    *,
    scores: np.ndarray | None = None,
    order: np.ndarray | None = None,
) -> Split:
    """Split the training set into A and B.

    Strategies that look at difficulty need `scores` or `order`, unless A or B is empty.

    Args:
        subset: Which units go into A, and how many.
        rule: Name of the weighting rule.
        data: The data set.
        scores: Difficulty of each training example, `(N,)`; higher is harder.
        order: Example numbers, hardest first, possibly not all of them.

    Raises:
        SpecError: There is no such subset, or no ranking for it.
    """
    by_class = subset.kind == "classes"
    units = data.classes if by_class else len(data.train)
    listed = class_numbers(subset.classes, data.class_names)
    number = len(listed) if subset.strategy == "listed" else count(subset.size, units)
    selection = SELECTION_RULES.get(subset.strategy)
    ranking = np.arange(units)
    # The two baselines need no ranking, so that a study of them alone trains none.
    proper = 0 < number < units
    if selection.needs_ranking and proper:
        ranking = _ranking(by_class, data, scores, order)
        if selection.needs_all and len(ranking) < units:
            raise SpecError(
                f"subset.strategy: {subset.strategy!r} needs a ranking of all {units} examples, got {len(ranking)}"
            )
        if number > len(ranking):
            raise SpecError(
                f"subset.size: expected at most the {len(ranking)} examples that the ranking has, got {subset.size!r}"
            )
    order = ordered(selection, ranking, listed, stream(subset.seed, "subset"), number, units) if proper else ranking
    return split_of(order[:number], number, subset, rule, data)


def split_of(chosen: np.ndarray, number: int, subset: SubsetSpec, rule: str, data: DataSet) -> Split:
    """Return the split with these units in A.

    Args:
        chosen: Examples or classes, int64; none where each batch chooses its own.
        number: How many there are to be in A.
        subset, rule, data: As in `make_split`.
    """
    labels, total = data.train.labels, len(data.train)
    by_class = subset.kind == "classes"
    units = data.classes if by_class else total
    # From here on the order is forgotten: all of A is treated alike.
    taken = np.zeros(units, bool)
    taken[chosen] = True
    members = taken[labels] if by_class else taken
    proper, online = 0 < number < units, SELECTION_RULES.get(subset.strategy).online
    drawn = number if online and proper else 0
    return Split(
        kind=subset.kind,
        strategy=subset.strategy,
        members=members,
        classes=tuple(np.flatnonzero(taken).tolist()) if by_class else None,
        weights=WEIGHTING_RULES.get(rule).weights(drawn or int(members.sum()), total),
        online=online if proper else "",
        drawn=drawn,
        seed=subset.seed,
        rerank=subset.rerank if proper else 0,
    )


def _ranking(by_class: bool, data: DataSet, scores: np.ndarray | None, order: np.ndarray | None) -> np.ndarray:
    labels, total = data.train.labels, len(data.train)
    if scores is None and order is None:
        raise SpecError("subset.strategy: expected a ranking for this strategy, got none")
    if not by_class:
        return order if order is not None else hardest_first(scores)  # type: ignore[arg-type]
    if scores is None and order is not None:  # an order has no scores: take ranks in their place
        if len(order) < total:
            raise SpecError(f"ranking.file: expected all {total} examples to rank classes by it, got {len(order)}")
        # The hardest gets the highest: the class score is a mean rank (INFERRED; recipe, section 2).
        scores = np.empty(total)
        scores[order] = np.arange(total, 0, -1)
    return hardest_first(class_scores(scores, labels, data.classes))  # type: ignore[arg-type]


def class_numbers(classes: Sequence[int | str], names: Sequence[str]) -> np.ndarray:
    """Return the numbers of classes that are given by number or name, int64.

    Raises:
        SpecError: A class does not exist, or is named twice.
    """
    numbers = []
    for key in classes:
        if isinstance(key, str) and key not in names:
            raise SpecError(f"subset.classes: no class is called {quoted(key)}{nearest(key, names)}")
        if isinstance(key, int) and not 0 <= key < len(names):
            raise SpecError(f"subset.classes: expected classes in 0..{len(names) - 1}, got {quoted(key)}")
        numbers.append(key if isinstance(key, int) else list(names).index(key))
    if len(set(numbers)) != len(numbers):
        raise SpecError(f"subset.classes: expected each class once, got {quoted(list(classes))}")
    return np.array(numbers, np.int64)


# Each of the ten thousand arms of a study asks for it, more than once.
@lru_cache(maxsize=4)
def validation_permutation(n: int) -> np.ndarray:
    """Return the fixed order of `n` validation examples: that of torch.manual_seed(90622); torch.randperm(n).

    It is made without torch. Its CPU generator is the same Mersenne Twister as numpy's RandomState; its randperm swaps
    position i with i + draw mod (n - i). The array is read-only.
    """
    # Over the full range of 32 bits, randint gives the generator's raw words, and rejects none.
    words = np.random.RandomState(SELECTION_SEED).randint(0, 1 << 32, size=max(n - 1, 0), dtype=np.uint32)
    order = list(range(n))
    for i, word in enumerate(words.tolist()):
        # % favours low positions a little; torch does the same, and the published order depends on it
        j = i + word % (n - i)
        order[i], order[j] = order[j], order[i]
    permutation = np.array(order, np.int64)
    permutation.setflags(write=False)
    return permutation


def validation_split(n: int, spec: EvaluationSpec, own: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of images that pick the epoch and of those that are reported, int64 (paper, section 4.1).

    Args:
        n: Number of images to report on. Some of them pick the epoch where the data set has no others for that.
        spec: How many pick the epoch, and how many are reported.
        own: Number of images that the data set has for picking the epoch.

    Raises:
        SpecError: There are too few images.
    """
    order = validation_permutation(n)
    # Where the data set has images of its own for this, all test images can be reported. Else at least one has to
    # pick the epoch, even if the share rounds down to none.
    first = 0 if own else max(1, count(spec.selection_share, n, "evaluation.selection_share"))
    rest = n - first
    number = rest if isinstance(spec.examples, str) else spec.examples
    if isinstance(number, float):
        # A share of all n, not of the rest: 0.8 of 10,000 are the authors' positions 1000 … 8999 (PROTOCOLS.md, (b)).
        number = count(number, n, "evaluation.examples")
    if not 1 <= number <= rest:
        raise SpecError(
            f"evaluation.examples: expected 1 to {rest} of {n} validation examples ({first} pick the epoch), "
            f"got {quoted(spec.examples)}"
        )
    return np.arange(own) if own else order[:first], order[first : first + number]
