"""What may be said of two arms: their difference, its interval, a p-value, and what could have been seen."""

from __future__ import annotations

from typing import final

import attrs
import numpy as np

from sat_core.errors import DataError
from sat_evaluation.statistics.checks import same_images, seeds_and_images
from sat_evaluation.statistics.interval import Interval
from sat_evaluation.statistics.mcnemar import LEVEL, POWER, mcnemar, visible_difference
from sat_evaluation.statistics.paired import paired_difference, unpaired_difference, unpaired_p
from sat_evaluation.statistics.variance import Means, means

IMAGES = "test images"
BOTH = "test images and seeds"


@final
@attrs.frozen(kw_only=True)
class Estimate:
    """The difference of two arms' accuracies and how sure it is.

    Attributes:
        difference: First minus second accuracy, in [-1, 1], with its 95 % interval.
        p: Two-sided p-value of no difference.
        exact: Of McNemar's test the exact p-value beside the mid-P one in `p`; None with other methods.
        visible: The smallest difference that is found with a chance of 80 %, at the level asked for, in (0, 1].
        n: Test images, of each arm.
        seeds: Trainings of each arm.
        discordant: Images on which just one arm is right; with several seeds their mean over all pairs of seeds. None
            where the images differ.
        over: What the interval is over: ``test images``, which says nothing of other trainings, or ``test images and
            seeds``.
        how: The methods of p-value and interval.
    """

    difference: Interval
    p: float
    exact: float | None
    visible: float
    n: tuple[int, int]
    seeds: tuple[int, int]
    discordant: float | None
    over: str
    how: str


def estimate(one: object, other: object, *, same: bool = True, matched: bool = False, level: float = LEVEL) -> Estimate:
    """Compare two arms by the flags of their test images.

    Of one training each: McNemar's mid-P test and Tango's interval; on different images Campbell's χ² and Newcombe's
    interval. Of several trainings of an arm: Student's t with variances over images and seeds. An arm with one
    training is then taken to vary over seeds as the other does, if that has three or more.

    Args:
        one, other: Flags, `(seeds, n)` or `(n,)`.
        same: Whether both are of the same images, in the same order.
        matched: Whether seeds of the same place belong together; see `variance.means`.
        level: Below which p-value a difference is found: what `visible` goes by, and nothing else.

    Raises:
        DataError: They are not flags, or of different numbers of images although they are the same.
    """
    first, second = seeds_and_images("estimate", one), seeds_and_images("estimate", other)
    seeds = len(first), len(second)
    if same:
        same_images("estimate", (first, second))
        return _one_training(first[0], second[0], level) if seeds == (1, 1) else _several(first, second, matched, level)
    if matched:
        raise DataError("estimate: expected the same images to match seeds, got different ones")
    return _unpaired(first[0], second[0], level) if seeds == (1, 1) else _unpaired_seeds(first, second, level)


def _one_training(one: np.ndarray, other: np.ndarray, level: float) -> Estimate:
    test = mcnemar(one, other)
    return Estimate(
        difference=paired_difference(one, other),
        p=test.mid_p,
        exact=test.exact,
        visible=visible_difference(test.n, test.discordant, level=level),
        n=(test.n, test.n),
        seeds=(1, 1),
        discordant=float(test.discordant),
        over=IMAGES,
        how="McNemar mid-P, Tango interval",
    )


def _several(one: np.ndarray, other: np.ndarray, matched: bool, level: float) -> Estimate:
    both = means([one, other], matched=matched)
    a, b = one.mean(0), other.mean(0)
    how = "t over images and matched seeds" if matched else "t over images and seeds"
    if not both.over_seeds:
        how = "t over images; too few seeds to be a cause of chance"
    return _by_t(both, float((a * (1 - b) + b * (1 - a)).sum()), how + _pooled(both), level)


def _by_t(both: Means, discordant: float | None, how: str, level: float) -> Estimate:
    contrast = (1.0, -1.0)
    found = both.interval(contrast)
    return Estimate(
        difference=Interval(found.value, max(-1.0, found.low), min(1.0, found.high)),
        p=both.p(contrast),
        exact=None,
        visible=min(1.0, both.visible(contrast, level=level)),
        n=(both.n, both.n),
        seeds=(both.seeds[0], both.seeds[1]),
        discordant=discordant,
        over=BOTH if both.over_seeds else IMAGES,
        how=how,
    )


def _pooled(both: Means) -> str:
    return ", the seeds of one arm standing for both" if both.pooled else ""


def _unpaired(one: np.ndarray, other: np.ndarray, level: float) -> Estimate:
    from scipy.special import ndtri

    found, p = unpaired_difference(one, other), unpaired_p(one, other)
    n, m = len(one), len(other)
    share = (one.sum() + other.sum() + 1) / (n + m + 2)  # not 0 or 1: arms that are always right could still differ
    return Estimate(
        difference=found,
        p=p,
        exact=None,
        visible=min(1.0, float((ndtri(1 - level / 2) + ndtri(POWER)) * (share * (1 - share) * (1 / n + 1 / m)) ** 0.5)),
        n=(n, m),
        seeds=(1, 1),
        discordant=None,
        over=IMAGES,
        how="χ² (Campbell), Newcombe interval; different images",
    )


def _unpaired_seeds(one: np.ndarray, other: np.ndarray, level: float) -> Estimate:
    # each arm's variance by itself: nothing cancels between different images
    parts = [means([table]) for table in (one, other)]
    known = [part for part in parts if part.over_seeds]
    images = np.diag([float(part.images[0, 0]) for part in parts])
    counts = np.array([len(one), len(other)])
    # an arm with one seed varies as the other does
    per_seed = np.array([float(p.trainings[0]) * p.seeds[0] if p.over_seeds else np.nan for p in parts])
    shared = np.array([float(p.shared[0]) if p.over_seeds else 0.0 for p in parts])
    per_seed = np.where(np.isnan(per_seed), np.nanmax(per_seed), per_seed)
    pooled = len(known) == 1
    freedom = np.full(2, counts.sum() - 2) if pooled else counts - 1
    if pooled and counts.sum() - 2 < 2:  # as in `means`: two seeds are too few to stand for both arms
        per_seed, shared, freedom, pooled = np.zeros(2), np.zeros(2), np.zeros(2, int), False
    both = Means(
        values=np.array([float(part.values[0]) for part in parts]),
        n=min(part.n for part in parts),
        seeds=(len(one), len(other)),
        images=images,
        trainings=per_seed / counts,
        shared=shared,
        freedom=freedom,
        pooled=pooled,
    )
    how = "t over different images and seeds" if both.over_seeds else "t over different images; too few seeds"
    found = _by_t(both, None, how + _pooled(both), level)
    return attrs.evolve(found, n=(parts[0].n, parts[1].n))
