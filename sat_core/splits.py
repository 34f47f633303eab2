"""Splits: the training set into A (attacked) and B (clean), the validation set into selection and report."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import final

import attrs
import numpy as np

from sat_core.arm_results import SplitSummary
from sat_core.data import DataSet
from sat_core.errors import SpecError, quoted
from sat_core.evaluation_spec import EvaluationSpec
from sat_core.registry import nearest
from sat_core.sections import SubsetSpec
from sat_core.selection import SELECTION_RULES
from sat_core.streams import stream
from sat_core.weighting import WEIGHTING_RULES

SELECTION_SEED = 90622
"""Seed of the validation permutation in the authors' code (recipe, section 1.3)."""


@final
@attrs.frozen(kw_only=True, eq=False)
class Split:
    """A and B of one arm.

    members: bool `(N,)`, True in A. classes: the classes that make A, None where A is made of examples (ESAT).
    weights: (w_A, w_B).
    """

    kind: str
    strategy: str
    members: np.ndarray
    classes: tuple[int, ...] | None
    weights: tuple[float, float]

    @property
    def size(self) -> int:
        """|A| in examples."""
        return int(self.members.sum())

    def example_weights(self, index: np.ndarray) -> np.ndarray:
        """w_A or w_B for each example number, float32."""
        return np.where(self.members[index], *self.weights).astype(np.float32)

    def mask_over(self, labels: np.ndarray) -> np.ndarray | None:
        """A over other data by class, bool `(n,)`; None where A is made of examples: other data has no such split."""
        return None if self.classes is None else np.isin(labels, self.classes)

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
        )


def count(size: int | float, total: int, key: str = "subset.size") -> int:
    """An integer is a count, a float a share: floor(share · total), in exact arithmetic. SpecError beyond `total`.

    >>> count(0.3, 10), count(3, 10), count(1.0, 10), count(1, 10)
    (3, 3, 10, 1)
    """
    number = int(Fraction(repr(size)) * total) if isinstance(size, float) else size
    if not 0 <= number <= total:
        raise SpecError(f"{key}: expected at most {total}, got {quoted(size)}")
    return number


def hardest_first(scores: np.ndarray) -> np.ndarray:
    """Unit numbers by falling score, int64; equal scores in the order of their numbers."""
    return np.argsort(-scores, kind="stable")


def class_scores(order_or_scores: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Mean score of the examples of each class, float64 `(classes,)` (paper, Eq. 3)."""
    return np.bincount(labels, order_or_scores, classes) / np.bincount(labels, minlength=classes)


def make_split(
    subset: SubsetSpec,
    rule: str,
    data: DataSet,
    *,
    scores: np.ndarray | None = None,
    order: np.ndarray | None = None,
    seed: int = 0,
) -> Split:
    """The split that `subset` describes, with the weights of the weighting `rule`.

    scores: difficulty `(N,)`, higher is harder; or order: example numbers, hardest first, possibly not all of them.
    One of them is needed by strategies that look at difficulty, unless A or B is empty. seed: of random subsets.
    """
    labels, total = data.train.labels, len(data.train)
    by_class = subset.kind == "classes"
    units = data.classes if by_class else total
    listed = class_numbers(subset.classes, data.class_names)
    number = len(listed) if subset.strategy == "listed" else count(subset.size, units)
    selection = SELECTION_RULES.get(subset.strategy)
    ranking = np.arange(units)
    if selection.needs_ranking and 0 < number < units:
        ranking = _ranking(by_class, data, scores, order)
        if selection.needs_all and len(ranking) < units:
            raise SpecError(
                f"subset.strategy: {subset.strategy!r} needs a ranking of all {units} examples, got {len(ranking)}"
            )
        if number > len(ranking):
            raise SpecError(
                f"subset.size: expected at most the {len(ranking)} examples that the ranking has, got {subset.size!r}"
            )
    chosen = np.sort(selection.order(ranking, listed, stream(seed, "subset"))[:number])
    taken = np.zeros(units, bool)
    taken[chosen] = True
    members = taken[labels] if by_class else taken
    return Split(
        kind=subset.kind,
        strategy=subset.strategy,
        members=members,
        classes=tuple(int(c) for c in chosen) if by_class else None,
        weights=WEIGHTING_RULES.get(rule).weights(int(members.sum()), total),
    )


def _ranking(by_class: bool, data: DataSet, scores: np.ndarray | None, order: np.ndarray | None) -> np.ndarray:
    labels, total = data.train.labels, len(data.train)
    if scores is None and order is None:
        raise SpecError("subset.strategy: expected a ranking for this strategy, got none")
    if not by_class:
        return order if order is not None else hardest_first(scores)  # type: ignore[arg-type]
    if scores is None and order is not None:  # mean rank stands in for the mean score that an order does not tell
        if len(order) < total:
            raise SpecError(f"ranking.file: expected all {total} examples to rank classes by it, got {len(order)}")
        scores = np.empty(total)
        scores[order] = np.arange(total, 0, -1)
    return hardest_first(class_scores(scores, labels, data.classes))  # type: ignore[arg-type]


def class_numbers(classes: Sequence[int | str], names: Sequence[str]) -> np.ndarray:
    """Class numbers of numbers or names, int64; SpecError for a class that does not exist or is named twice."""
    numbers = []
    for wanted in classes:
        if isinstance(wanted, str) and wanted not in names:
            raise SpecError(f"subset.classes: no class is called {quoted(wanted)}{nearest(wanted, names)}")
        if isinstance(wanted, int) and not 0 <= wanted < len(names):
            raise SpecError(f"subset.classes: expected classes in 0..{len(names) - 1}, got {quoted(wanted)}")
        numbers.append(wanted if isinstance(wanted, int) else list(names).index(wanted))
    if len(set(numbers)) != len(numbers):
        raise SpecError(f"subset.classes: expected each class once, got {quoted(list(classes))}")
    return np.array(numbers, np.int64)


def validation_permutation(n: int) -> np.ndarray:
    """The fixed order of `n` validation examples: torch.manual_seed(90622); torch.randperm(n), without torch.

    Torch's CPU generator is the same Mersenne Twister; its randperm swaps position i with i + draw mod (n - i).
    """
    words = np.random.RandomState(SELECTION_SEED).randint(0, 1 << 32, size=max(n - 1, 0), dtype=np.uint32)
    order = list(range(n))
    for i, word in enumerate(words.tolist()):
        j = i + word % (n - i)
        order[i], order[j] = order[j], order[i]
    return np.array(order, np.int64)


def validation_split(n: int, spec: EvaluationSpec, own: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Positions for picking the epoch and, apart from them, for reporting, both int64 (paper, section 4.1).

    n: examples to report on, some of which pick the epoch unless the data set has `own` ones for that.
    """
    order = validation_permutation(n)
    first = 0 if own else max(1, count(spec.selection_share, n, "evaluation.selection_share"))
    rest = n - first
    number = rest if isinstance(spec.examples, str) else spec.examples
    if isinstance(number, float):
        number = count(number, n, "evaluation.examples")
    if not 1 <= number <= rest:
        raise SpecError(
            f"evaluation.examples: expected 1 to {rest} of {n} validation examples ({first} pick the epoch), "
            f"got {quoted(spec.examples)}"
        )
    return np.arange(own) if own else order[:first], order[first : first + number]
