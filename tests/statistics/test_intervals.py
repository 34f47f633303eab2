"""Intervals of differences and of the recovered share: values of papers, and what they promise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from sat_core.errors import DataError
from sat_evaluation.statistics.bootstrap import bootstrap, bootstrap_difference, bootstrap_recovered
from sat_evaluation.statistics.interval import Interval
from sat_evaluation.statistics.paired import _score, of_counts, unpaired_difference, unpaired_p
from sat_evaluation.statistics.recovered import recovered


def arms(n: int, *shares: float, seed: int = 0) -> list[np.ndarray]:
    """Arms of which some images are hard for all."""
    rng = np.random.default_rng(seed)
    hard = rng.random(n)
    return [0.6 * hard + 0.4 * rng.random(n) < share for share in shares]


@pytest.mark.parametrize(("b", "c", "n"), [(8, 1, 40), (0, 3, 20), (54, 60, 2000)])
def test_ends_of_tangos_interval_are_where_the_score_is_1_96(b: int, c: int, n: int) -> None:
    found = of_counts(b, c, n)
    assert found.value == (b - c) / n
    assert _score(b, c, n, found.high) == pytest.approx(-1.959964, abs=1e-5)
    assert -_score(c, b, n, -found.low) == pytest.approx(1.959964, abs=1e-5)


def test_tangos_interval_without_discordant_pairs() -> None:
    z2 = 1.959964**2
    assert of_counts(0, 0, 50).high == pytest.approx(z2 / (50 + z2), abs=1e-6)  # Tango 1998, section 4
    assert of_counts(0, 0, 50).low == -of_counts(0, 0, 50).high
    assert of_counts(20, 0, 20).high == 1


def test_tangos_interval_covers() -> None:
    rng = np.random.default_rng(1)
    counts = rng.multinomial(300, [0.06, 0.03, 0.91], size=2000)
    covered = np.mean([0.03 in of_counts(int(b), int(c), 300) for b, c, _ in counts])
    assert 0.93 < covered < 0.97


def test_newcombes_interval_is_that_of_his_paper() -> None:
    found = unpaired_difference(np.repeat([1, 0], [56, 14]), np.repeat([1, 0], [48, 32]))  # 1998, table II, (a)
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=1e-4)


def test_unpaired_p_value_by_hand() -> None:
    one, other = np.repeat([1, 0], [15, 5]), np.repeat([1, 0], [8, 12])
    square = 39 * (15 * 12 - 5 * 8) ** 2 / (20 * 20 * 23 * 17)
    from scipy.stats import chi2

    assert unpaired_p(one, other) == pytest.approx(chi2.sf(square, 1))
    assert unpaired_p(np.ones(5), np.ones(7)) == 1


def test_bootstrap_of_a_difference_agrees_with_tango() -> None:
    one, other = arms(2000, 0.5, 0.45)
    found = bootstrap_difference(one, other, np.random.default_rng(0))
    b, c = int((one & ~other).sum()), int((other & ~one).sum())
    assert found.low == pytest.approx(of_counts(b, c, 2000).low, abs=0.003)
    assert found.high == pytest.approx(of_counts(b, c, 2000).high, abs=0.003)


def test_bootstrap_draws_the_same_images_for_all_arms() -> None:
    one = arms(100, 0.5)[0]
    found = bootstrap_difference(one, one, np.random.default_rng(0), draws=200)
    assert (found.low, found.value, found.high) == (0, 0, 0)


def test_bootstrap_is_the_same_for_the_same_generator() -> None:
    one, other = arms(300, 0.5, 0.4)
    first, second = (bootstrap_difference(one, other, np.random.default_rng(3), draws=500) for _ in range(2))
    assert first == second


def test_bca_agrees_with_percentiles_where_nothing_is_skewed() -> None:
    one, other = arms(2000, 0.5, 0.45)
    percentile, bca = (
        bootstrap([one, other], lambda a: a[..., 0] - a[..., 1], np.random.default_rng(0), method=method)
        for method in ("percentile", "bca")
    )
    assert (bca.low, bca.high) == pytest.approx((percentile.low, percentile.high), abs=0.002)
    assert bca != percentile


def test_fieller_and_bootstrap_agree_where_the_gain_is_large() -> None:
    plain, some, full = arms(3000, 0.05, 0.4, 0.5)
    found = recovered(plain, some, full)
    value = (some.mean() - plain.mean()) / (full.mean() - plain.mean())
    drawn = bootstrap_recovered(plain, some, full, np.random.default_rng(0))
    assert found.interval.value == pytest.approx(value) == pytest.approx(drawn.value)
    assert (found.interval.low, found.interval.high) == pytest.approx((drawn.low, drawn.high), abs=0.01)
    assert (found.n, found.seeds, found.over_seeds) == (3000, (1, 1, 1), False)


def test_recovered_share_is_anything_where_full_at_gains_nothing() -> None:
    plain, some, full = arms(200, 0.5, 0.5, 0.5)
    found = recovered(plain, some, full)
    assert not found.interval.bounded
    assert not found.gain
    same = recovered(plain, some, plain).interval
    assert np.isnan(same.value)
    assert not same.bounded


def test_few_seeds_that_differ_much_leave_any_share_although_full_at_is_better() -> None:
    plain, some, full = ([np.arange(40) < k for k in each] for each in ((30, 30), (40, 31), (38, 40)))
    found = recovered(plain, some, full)
    assert found.gain
    assert not found.interval.bounded


def test_recovered_share_of_full_at_is_1() -> None:
    plain, full = arms(500, 0.1, 0.5)
    found = recovered(plain, full, full).interval
    assert found.value == 1
    assert found.low < 1 < found.high


def test_fieller_covers() -> None:
    covered = 0
    rng = np.random.default_rng(2)
    for _ in range(1000):
        hard, noise = rng.random(200), rng.random((3, 200))
        # uniform plus uniform below t: the share of each is t² / (2 * 0.25) as long as t <= 0.5
        plain, some, full = ((0.5 * hard + 0.5 * each < t) for each, t in zip(noise, (0.1, 0.35, 0.45), strict=True))
        covered += (0.35**2 - 0.1**2) / (0.45**2 - 0.1**2) in recovered(plain, some, full).interval
    assert 0.93 < covered / 1000 < 0.97


def test_intervals_print_in_points_and_turn_round() -> None:
    assert str(Interval(-0.018, -0.039, 0.003)) == "-1.8 [-3.9, +0.3]"
    assert -Interval(0.1, 0.0, 0.3) == Interval(-0.1, -0.3, -0.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Interval(0, 1, 0), "interval: expected low <= high"),
        (lambda: of_counts(-1, 0, 5), "paired: expected counts"),
        (lambda: bootstrap([np.ones(3)], len, np.random.default_rng(), method="t"), "bootstrap: expected method"),
        (lambda: bootstrap([np.ones(3)], len, np.random.default_rng(), draws=1), "bootstrap: expected at least"),
        (lambda: recovered(np.ones(3), np.ones(4), np.ones(3)), "means: expected flags of the same images"),
    ],
)
def test_what_cannot_be_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(DataError, match=f"^{message}"):
        call()
