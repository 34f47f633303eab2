"""Seeds as a level of their own, and the one entry for two arms."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import numpy as np
import pytest

from sat_core.errors import DataError
from sat_evaluation.statistics.estimate import BOTH, IMAGES, estimate
from sat_evaluation.statistics.mcnemar import mcnemar
from sat_evaluation.statistics.paired import paired_difference
from sat_evaluation.statistics.variance import Means, means

DIFFERENCE = (1.0, -1.0)


def trainings(rng: np.random.Generator, n: int, *seeds: int, spread: float = 0.0) -> list[np.ndarray]:
    """Arms that are equally good: images differ in difficulty, trainings by `spread`."""
    hard = rng.normal(size=n)
    return [hard + spread * rng.normal(size=(m, 1)) + 0.7 * rng.normal(size=(m, n)) > 0.5 for m in seeds]


def test_variance_of_one_training_is_that_of_the_images() -> None:
    one, other = (arm[0] for arm in trainings(np.random.default_rng(0), 4000, 1, 1))
    both = means([one, other])
    d = one.astype(float) - other
    assert both.value(DIFFERENCE) == pytest.approx(d.mean())
    assert both.covariance(DIFFERENCE, DIFFERENCE) == pytest.approx(d.var(ddof=1) / 4000, rel=0.01)
    assert not both.over_seeds
    tango = paired_difference(one, other)
    assert both.interval(DIFFERENCE).low == pytest.approx(tango.low, abs=1e-3)


def test_two_seeds_by_hand() -> None:
    one = np.array([[1, 1, 0, 0], [1, 0, 0, 0]])
    other = np.array([[0, 0, 0, 0], [0, 0, 1, 0]])
    both = means([one, other])
    assert both.values.tolist() == [3 / 8, 1 / 8]
    # means of seeds: 1/2 and 1/4; 0 and 1/4
    assert both.trainings == pytest.approx([1 / 64, 1 / 64])
    # what neither image nor seed explains, over (2 - 1)(4 - 1) degrees of freedom
    left = one - one.mean(0) - one.mean(1, keepdims=True) + one.mean()
    assert both.shared[0] == pytest.approx((left**2).sum() / 3 / 2 / 4)
    assert both.images[0, 1] == pytest.approx(np.cov(one.mean(0), other.mean(0))[0, 1] / 4)


def test_degrees_of_freedom_lie_between_seeds_and_images() -> None:
    rng = np.random.default_rng(0)
    quiet, loud = (
        [means(trainings(rng, 100, 3, 3, spread=spread)).degrees(DIFFERENCE) for _ in range(50)] for spread in (0.0, 2)
    )
    assert 1.99 < min(loud) <= np.median(loud) < 4.5 < np.median(quiet) <= max(quiet) <= 99 + 4


def test_a_pooled_variance_counts_twice_by_hand() -> None:
    """Variance of the difference: 4 of the images, with 100 degrees of freedom, and 1 of the seeds, with 2."""
    apart = Means(
        values=np.zeros(2),
        n=101,
        seeds=(1, 3),
        images=np.diag([2.0, 2.0]),
        trainings=np.array([0.75, 0.25]),
        shared=np.zeros(2),
        freedom=np.array([2, 2]),
        pooled=True,
    )
    assert apart.degrees(DIFFERENCE) == pytest.approx((4 + 2) ** 2 / (4**2 / 100 + 2**2 / 2))
    alike = attrs.evolve(apart, pooled=False)
    assert alike.degrees(DIFFERENCE) == pytest.approx((4 + 1) ** 2 / (4**2 / 100 + 0.75**2 / 2 + 0.25**2 / 2))


def test_trainings_that_agree_by_chance_leave_a_variance() -> None:
    """Equal means of all seeds, on other images each: no variance between seeds, and all of the images' is shared."""
    arm = np.eye(3, 6, dtype=bool)
    both = means([arm, arm[:, ::-1]])
    assert not both.trainings.any()
    assert both.p(DIFFERENCE) == 1
    assert both.overall()[-1] == 1
    assert both.covariance(DIFFERENCE, DIFFERENCE) == pytest.approx(2 / 3 / 6**2)
    one = means([arm[:1], arm[1:2]], matched=True)
    assert not one.over_seeds
    assert one.p(DIFFERENCE) == 1


@pytest.mark.parametrize("seeds", [(3, 3), (2, 4), (1, 3)])
def test_intervals_over_seeds_cover(seeds: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    covered = np.mean([0 in means(trainings(rng, 300, *seeds, spread=0.2)).interval(DIFFERENCE) for _ in range(1000)])
    assert 0.93 < covered < 0.97


def test_an_interval_of_one_training_each_does_not_cover_other_trainings() -> None:
    rng = np.random.default_rng(0)
    pairs = [trainings(rng, 300, 1, 1, spread=0.3) for _ in range(100)]
    assert np.mean([0 in paired_difference(one[0], other[0]) for one, other in pairs]) < 0.75
    assert estimate(*pairs[0]).over == IMAGES


def test_matched_seeds_are_worth_it_where_they_share_something() -> None:
    rng = np.random.default_rng(0)
    common = rng.normal(size=(6, 1))
    hard = rng.normal(size=400)
    one, other = (hard + common + 0.5 * rng.normal(size=(6, 400)) > 0 for _ in range(2))
    apart, matched = (estimate(one, other, matched=matched).difference for matched in (False, True))
    assert matched.value == apart.value
    assert matched.high - matched.low < (apart.high - apart.low) / 2


def test_estimate_of_one_training_each() -> None:
    one, other = trainings(np.random.default_rng(1), 200, 1, 1)
    found = estimate(one, other)
    test = mcnemar(one[0], other[0])
    assert (found.p, found.exact, found.discordant) == (test.mid_p, test.exact, test.discordant)
    assert found.difference == paired_difference(one[0], other[0])
    assert (found.n, found.seeds, found.how) == ((200, 200), (1, 1), "McNemar mid-P, Tango interval")
    assert 0 < found.visible < 0.2


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("same", [True, False])
def test_at_a_stricter_level_less_can_be_seen(seeds: int, same: bool) -> None:
    one, other = trainings(np.random.default_rng(1), 200, seeds, seeds)
    usual, strict = (estimate(one, other, same=same, level=level) for level in (0.05, 0.005))
    assert usual.visible < strict.visible
    assert attrs.evolve(strict, visible=usual.visible) == usual


def test_p_value_and_interval_over_seeds_agree() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        found = estimate(*trainings(rng, 100, 3, 2, spread=0.2))
        assert (found.p < 0.05) == (0 not in found.difference)
        assert found.over == BOTH


def test_arms_of_which_one_has_seeds() -> None:
    found = estimate(*trainings(np.random.default_rng(0), 100, 1, 3))
    assert found.over == BOTH
    assert "the seeds of one arm standing for both" in found.how


def test_two_seeds_of_one_arm_alone_are_too_few() -> None:
    rng = np.random.default_rng(0)
    for same in (True, False):
        found = estimate(*trainings(rng, 100, 1, 2), same=same)
        assert found.over == IMAGES
    assert "too few seeds" in estimate(*trainings(rng, 100, 1, 2)).how


def test_arms_that_agree_everywhere_still_have_an_interval() -> None:
    same = np.zeros((3, 100))
    found = estimate(same, same)
    assert found.p == 1
    assert 0 < found.difference.high < 0.05


def test_different_images_are_compared_without_pairs() -> None:
    rng = np.random.default_rng(0)
    one, other = trainings(rng, 100, 3)[0], trainings(rng, 300, 3)[0]
    single, several = estimate(one[0], other[0], same=False), estimate(one, other, same=False)
    assert (single.n, single.discordant, several.n) == ((100, 300), None, (100, 300))
    assert "Newcombe" in single.how
    assert several.over == BOTH
    assert estimate(one[:1], other, same=False).over == BOTH


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: estimate(np.ones(3), np.ones(4)), "estimate: expected flags of the same images"),
        (lambda: estimate(np.ones((1, 2, 3)), np.ones(3)), r"estimate: expected flags \(0 or 1\) as"),
        (lambda: estimate(np.ones(3), np.ones(3), same=False, matched=True), "estimate: expected the same images"),
        (lambda: means([np.ones((2, 5)), np.ones(5)], matched=True), "means: expected two arms with equally many"),
        (lambda: means([]), "means: expected at least one arm"),
    ],
)
def test_what_cannot_be_compared_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(DataError, match=f"^{message}"):
        call()
