"""The law of |A| and the monotone spline: what they recover, what they promise, what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from sat_core.errors import DataError
from sat_evaluation.statistics.law import bootstrap_share_for, fit_law
from sat_evaluation.statistics.profile import gained
from sat_evaluation.statistics.share_means import ShareMeans, binomial_means, flag_means
from sat_evaluation.statistics.spline import chi_bar_p, fit_spline

SHARES = [0.0, 0.1, 0.3, 0.5, 0.75, 1.0]


def exact(values: object, deviation: float = 1e-4) -> ShareMeans:
    y = np.asarray(values, np.float64)
    return ShareMeans(shares=np.array(SHARES), values=y, covariance=deviation**2 * np.eye(len(y)))


def arms(values: object, n: int, seed: int = 0, seeds: int = 0) -> list[np.ndarray]:
    """Flags that have hard images in common."""
    rng = np.random.default_rng(seed)
    hard = rng.random(n)
    shape = (seeds, n) if seeds else (n,)
    return [
        np.where(rng.random(shape) < 0.5, hard, rng.random(shape)) < value for value in np.asarray(values, np.float64)
    ]


@pytest.mark.parametrize(("plain", "full", "kappa"), [(0.0, 0.69, 0.04), (0.2, 0.6, 0.5), (0.56, 0.9, 0.002)])
def test_the_law_is_exact_without_noise(plain: float, full: float, kappa: float) -> None:
    values = plain + (full - plain) * gained(np.array(SHARES), kappa)
    law = fit_law(exact(values, 1e-6))
    assert law.kappa == pytest.approx(kappa, rel=1e-3)
    assert (law.plain, law.full) == pytest.approx((plain, full), abs=1e-5)
    assert law.at(SHARES) == pytest.approx(values, abs=1e-5)
    found = law.share_for(0.95)
    assert law.at(found.value) == pytest.approx(0.95 * full, abs=1e-6)
    assert found.low == pytest.approx(found.high, abs=0.01)
    assert (law.scatter, law.freedom, law.fits) == (0, 3, True)


@pytest.mark.parametrize(
    ("published", "most", "enough"),
    [
        ([52.1, 59.1, 63.3, 64.9, 66.4, 66.8, 67.7, 68.7, 68.5, 69.0], 0.4, 0.41),
        ([24.2, 36.1, 45.7, 53.2, 58.1, 61.5, 64.6, 66.4, 67.9, 69.0], 0.7, 0.80),
        ([21.3, 29.3, 33.4, 36.5, 38.1, 38.8, 40.1, 40.5, 41.0, 40.9], 0.4, 0.64),
    ],
    ids=["CIFAR-10, hardest", "CIFAR-10, easiest", "CIFAR-100, random"],
)
def test_published_curves_are_near_the_law(published: list[float], most: float, enough: float) -> None:
    """Fig. 6 of the paper: robust accuracy at 10 to 100 %, and none without attacks."""
    values = np.array([0.0, *published]) / 100
    law = fit_law(ShareMeans(shares=np.linspace(0, 1, 11), values=values, covariance=0.005**2 * np.eye(11)))
    assert 100 * np.sqrt(np.mean((law.at(law.means.shares) - values) ** 2)) < most
    assert law.share_for(0.95).value == pytest.approx(enough, abs=0.03)


def test_the_interval_has_the_truth_and_half_as_much_room_with_four_times_the_images() -> None:
    truth, widths = 0.05 + 0.6 * gained(np.array(SHARES), 0.1), []
    for n in (1000, 4000):
        found = fit_law(binomial_means(SHARES, np.round(n * truth).tolist(), [n] * 6)).share_for(0.95)
        gain = (0.95 * 0.65 - 0.05) / 0.6
        assert found.value == pytest.approx(0.1 * gain / (1.1 - gain), abs=0.01)
        assert found.low < found.value < found.high
        widths.append(found.high - found.low)
    assert widths[0] / widths[1] == pytest.approx(2, abs=0.3)


def test_the_law_rises_where_robust_accuracy_does_and_its_band_is_around_it() -> None:
    law = fit_law(binomial_means(SHARES, [3, 310, 420, 455, 470, 480], [1000] * 6))
    s = np.linspace(0, 1, 101)
    low, high = law.band(s)
    assert (np.diff(law.at(s)) > 0).all()
    assert ((low <= law.at(s)) & (law.at(s) <= high)).all()
    assert (high - low).max() < 0.08
    assert (high - low)[100] == pytest.approx(2 * 1.96 * 0.0125, rel=0.4)


def test_the_band_is_that_of_linear_regression_where_kappa_is_known() -> None:
    """Many points say what κ is; r0 is then known from the measured values near 0."""
    law = fit_law(exact(0.1 + 0.5 * gained(np.array(SHARES), 0.1), 0.001))
    design = np.stack([1 - gained(np.array(SHARES), 0.1), gained(np.array(SHARES), 0.1)], 1)
    # with the slope in κ as third column: the delta method
    slope = 0.5 * np.array(SHARES) * (np.array(SHARES) - 1) / (np.array(SHARES) + 0.1) ** 2
    full = np.column_stack([design, slope])
    variances = 1e-6 * np.einsum("si,ij,sj->s", full, np.linalg.inv(full.T @ full), full)
    low, high = law.band(SHARES)
    assert (high - low) / 2 == pytest.approx(1.96 * np.sqrt(variances), rel=0.02)


def test_a_misfit_is_named_and_widens_the_intervals() -> None:
    good = 0.1 + 0.5 * gained(np.array(SHARES), 0.1)
    bad = good + np.array([0, 0.03, -0.03, 0.03, -0.03, 0.03])
    fine, off = fit_law(exact(good, 0.01)), fit_law(exact(bad, 0.01))
    assert fine.p > 0.9
    assert off.p < 0.001
    assert not off.fits
    assert 0.02 < off.scatter < 0.06
    assert off.share_for().high - off.share_for().low > 1.5 * (fine.share_for().high - fine.share_for().low)


def test_plain_training_that_is_good_enough_needs_no_a() -> None:
    found = fit_law(binomial_means(SHARES, [960, 965, 970, 975, 980, 985], [1000] * 6)).share_for(0.95)
    assert (found.value, found.low) == (0, 0)


def test_nothing_is_known_where_full_at_gains_nothing_or_is_never_robust() -> None:
    flat = fit_law(binomial_means(SHARES, [20, 21, 19, 20, 20, 21], [40] * 6)).share_for(0.95)
    assert flat.low == 0
    assert flat.high > 0.9
    never = fit_law(binomial_means(SHARES, [0] * 6, [100] * 6)).share_for(0.95)
    assert (never.low, never.high) == (0, 1)


def test_flags_of_the_same_images_tell_more_than_counts() -> None:
    truth = 0.6 * gained(np.array(SHARES), 0.1)
    flags = arms(truth, 4000)
    paired = fit_law(flag_means(SHARES, flags))
    counts = fit_law(binomial_means(SHARES, [int(arm.sum()) for arm in flags], [4000] * 6))
    assert paired.means.values.tolist() == counts.means.values.tolist()
    one, other = paired.share_for(0.95), counts.share_for(0.95)
    assert one.high - one.low < 0.95 * (other.high - other.low)


def test_seeds_are_a_level_of_their_own() -> None:
    truth = 0.6 * gained(np.array(SHARES), 0.1)
    flags = arms(truth, 2000, seeds=3)
    shift = np.random.default_rng(1).normal(0, 0.03, (6, 3))
    for arm, moved in zip(flags, shift, strict=True):
        for table, move in zip(arm, moved, strict=True):
            wrong = np.flatnonzero(table != (move > 0))[: round(abs(move) * 2000)]
            table[wrong] = move > 0
    means = flag_means(SHARES, flags)
    assert means.over_seeds
    # the variance of seeds, less what images explain of it, in proportion to p² (1 - p)²
    of_seeds = np.array([arm.mean(1).var(ddof=1) for arm in flags]) / 3
    of_images = np.array([arm.mean(0).var() for arm in flags]) / 2000
    found = means.deviations**2 - of_images
    assert found[0] < 0.2 * found[3]
    assert 0.4 * of_seeds.sum() < found.sum() < of_seeds.sum()
    assert 12 < means.degrees < 60
    single = flag_means(SHARES, [arm[0] for arm in flags])
    assert not single.over_seeds
    assert single.degrees == 1999


def test_counts_of_seeds_vary_by_more_than_images() -> None:
    counts = [[0, 0], [300, 340], [400, 440], [480, 440], [500, 540], [560, 520]]
    means = binomial_means(SHARES, counts, [1000] * 6)
    assert means.values.tolist() == pytest.approx([0, 0.32, 0.42, 0.46, 0.52, 0.54])
    # variances between seeds are 0 once and 0.0008 five times; images explain p (1 - p)/1000 of that, whose sum is
    # 1.2086; what is left is shared out by its square, whose sum is 0.2925
    of_seeds = 0.2484**2 * (5 * 0.0008 - 0.0012086) / 0.2925
    assert means.deviations[3] ** 2 == pytest.approx(0.2484 / 1000 + of_seeds / 2, rel=0.01)
    assert means.over_seeds
    assert 6 < means.degrees < 30
    assert not binomial_means(SHARES, [1] * 6, [1000] * 6).over_seeds


def test_the_bootstrap_agrees() -> None:
    flags = arms(0.6 * gained(np.array(SHARES), 0.1), 2000)
    law = fit_law(flag_means(SHARES, flags)).share_for(0.95)
    drawn = bootstrap_share_for(SHARES, flags, np.random.default_rng(0), draws=500)
    assert drawn.value == pytest.approx(law.value, abs=0.01)
    assert (drawn.low, drawn.high) == pytest.approx((law.low, law.high), abs=0.04)


def test_the_spline_pools_what_falls_and_never_leaves_its_range() -> None:
    spline = fit_spline(exact([0.0, 0.3, 0.5, 0.48, 0.6, 0.6], 0.01))
    assert spline.values.tolist() == pytest.approx([0.0, 0.3, 0.49, 0.49, 0.6, 0.6])
    s = np.linspace(0, 1, 201)
    curve = spline.at(s)
    assert (np.diff(curve) >= -1e-12).all()
    assert curve.max() <= 0.6
    assert spline.misfit == pytest.approx(2, rel=1e-6)
    assert float(spline.at(spline.share_for(0.95))) == pytest.approx(0.57)
    assert np.isnan(spline.at(1.1))


def test_p_of_the_spline() -> None:
    assert chi_bar_p(0, 4) == 1
    # k = 2: half of the time the two fall, and then their χ² has one degree of freedom (Bartholomew 1959)
    assert chi_bar_p(3.841459, 2) == pytest.approx(0.025)
    assert chi_bar_p(5.0, 3) == pytest.approx(0.5 * 0.0253473 + 0.0820850 / 3, rel=1e-5)
    assert fit_spline(exact(SHARES)).p == 1


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ([0.0, 0.5, 1.0], "4 or more shares"),
        ([0.0, 0.5, 0.4, 1.0], "ascending"),
        ([0.0, 0.5, 0.9, 1.1], "in \\[0, 1\\]"),
    ],
)
def test_refusals(shares: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        fit_law(binomial_means(shares, [10] * len(shares), [100] * len(shares)))


def test_refused_are_counts_and_parts_that_cannot_be() -> None:
    with pytest.raises(DataError, match="count"):
        binomial_means([0, 1], [11, 5], [10, 10])
    with pytest.raises(DataError, match="part"):
        fit_law(exact(SHARES)).share_for(1.0)
    with pytest.raises(DataError, match="covariance"):
        ShareMeans(shares=np.zeros(2), values=np.zeros(2), covariance=np.eye(3))
    with pytest.raises(DataError, match="finite"):
        exact([0, 1, 2, 3, 4, float("nan")])
    with pytest.raises(DataError, match="2 or more"):
        fit_spline(binomial_means([0.5], [1], [2]))
