"""What arms with classes in A gain or lose on B against full adversarial training on the same classes, as values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import attrs
import numpy as np

from sat_core.errors import DataError
from sat_core.run_folder import RunFolder
from sat_evaluation.figures.arm_labels import arm_label, seeds_of
from sat_evaluation.results.curves import Group, series, varied
from sat_evaluation.results.pairs import line_up, read_flags
from sat_evaluation.results.rows import Row
from sat_evaluation.statistics.estimate import IMAGES, estimate
from sat_evaluation.statistics.interval import Interval
from sat_evaluation.statistics.paired import unpaired_difference

PAIRED = "paired, image by image"
UNPAIRED = "as if of different images, which is wider than it need be"


@final
@attrs.frozen(kw_only=True)
class Gain:
    """Robust accuracy on B, minus that of full adversarial training on the same classes.

    Attributes:
        group: The arms, which have the same classes in A.
        label: The arms in words.
        difference: In [-1, 1], with its 95 % interval.
        n: Test images of B.
        over: What the interval is over: test images, and of several seeds whose flags are there also seeds.
        how: `PAIRED` or `UNPAIRED`.
    """

    group: Group
    label: str
    difference: Interval
    n: int
    over: str
    how: str


def gains_on_b(rows: Sequence[Row], folder: RunFolder | None = None) -> list[Gain]:
    """Return the gain of each set of classes; seeds that drew other classes are arms of their own.

    Args:
        rows: Arms of a study. Those whose A is made of examples, or changes, have no classes in B and are left out.
        folder: Of the study, whose flags make the comparison a paired one. Without it, or where they cannot be read, it
            is made of the counts.
    """
    keys = varied(rows)
    gains = []
    for curve in series(rows):
        # classes that are listed in their order, whatever their size
        listed = curve.strategy == "listed"
        ordered = sorted(curve.groups, key=lambda g: g.rows[0].classes) if listed else curve.groups
        for g in ordered if curve.full else ():
            first = g.rows[0]
            if first.kind == "classes" and not first.moving and not first.source:
                alike: dict[tuple[int, ...], list[Row]] = {}
                for row in g.rows:
                    alike.setdefault(row.classes, []).append(row)
                for classes, arms in alike.items():
                    label = arm_label(first, keys) + (_names(classes, first) if len(alike) > 1 else "")
                    gain = _gain(Group(tuple(arms)), curve.full, label, folder) if curve.full else None
                    gains += [gain] if gain else []
    return gains


def _names(classes: Sequence[int], row: Row) -> str:
    return f": {', '.join(row.class_names[c] for c in classes)}" if len(classes) <= 3 else f": {len(classes)} classes"


def _gain(g: Group, full: Group, label: str, folder: RunFolder | None) -> Gain | None:
    in_b = [c for c in range(len(g.rows[0].class_names)) if c not in g.rows[0].classes]
    label += seeds_of(g)
    try:
        both = line_up([read_flags(each, folder) for each in (g, full)]) if folder else None
    except DataError:  # what is missing is said where arms are compared; the counts are there in any case
        both = None
    if both is not None:
        of_b = np.isin(both[0].label, in_b)
        n = int(of_b.sum())
        if n < 2:  # a single image is no sample
            return None
        found = estimate(*(each.robust[:, of_b] for each in both))
        return Gain(group=g, label=label, difference=found.difference, n=n, over=found.over, how=PAIRED)
    counts = [_count(each, in_b) for each in (g, full)]
    if not all(n for _, n in counts):
        return None
    difference = unpaired_difference(*(np.arange(n) < count for count, n in counts))
    return Gain(group=g, label=label, difference=difference, n=counts[0][1], over=IMAGES, how=UNPAIRED)


def _count(g: Group, classes: Sequence[int]) -> tuple[int, int]:
    """How many of the test images of some classes are robust, the mean of the seeds, and how many there are."""
    by_seed = [[each for c in classes if (each := (row.results.robust.per_class or ())[c])] for row in g.rows]
    robust = np.mean([sum(each.count for each in seed) for seed in by_seed])
    return round(float(robust)), sum(each.n for each in by_seed[0])
