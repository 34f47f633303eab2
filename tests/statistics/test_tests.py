"""McNemar's test, Cochran's Q and Holm's correction: values of textbooks, and what they promise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binom

from sat_core.errors import DataError
from sat_evaluation.statistics import mcnemar as m
from sat_evaluation.statistics.cochran import cochran_q
from sat_evaluation.statistics.holm import holm


def flags(only_one: int, only_other: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    one, other = np.ones((2, n), bool)
    other[:only_one] = False
    one[only_one : only_one + only_other] = False
    return one, other


def test_mcnemar_is_the_binomial_of_discordant_pairs() -> None:
    test = m.mcnemar(*flags(8, 1, 40))
    assert (test.n, test.only_one, test.only_other, test.discordant) == (40, 8, 1, 9)
    assert test.difference == pytest.approx(7 / 40)
    # by hand: 2 (1 + 9)/2^9, and half of the probability of one loss less on each side
    assert test.exact == pytest.approx(20 / 512)
    assert test.mid_p == pytest.approx(11 / 512)


def test_mcnemar_does_not_care_which_is_first_or_how_many_agree() -> None:
    one, other = m.of_counts(12, 5, 100), m.of_counts(5, 12, 9000)
    assert (one.exact, one.mid_p) == (other.exact, other.mid_p)
    assert one.mid_p < one.exact


@pytest.mark.parametrize("each", [0, 1, 7])
def test_mcnemar_of_equal_arms_is_1(each: int) -> None:
    test = m.of_counts(each, each, 20)
    assert (test.exact, test.mid_p) == (1, pytest.approx(1))


def test_type_one_error_of_the_exact_test_is_never_above_5_percent() -> None:
    for pairs in range(1, 60):
        counts = np.arange(pairs + 1)
        exact = [m.of_counts(int(k), pairs - int(k), 100).exact for k in counts]
        assert binom.pmf(counts, pairs, 0.5)[np.array(exact) <= 0.05].sum() <= 0.05


def test_a_visible_difference_is_found_in_four_of_five() -> None:
    n, discordant = 500, 60
    visible = m.visible_difference(n, discordant)
    rng = np.random.default_rng(0)
    share = discordant / n
    counts = rng.multinomial(n, [(share + visible) / 2, (share - visible) / 2, 1 - share], size=2000)
    found = np.mean([m.of_counts(int(b), int(c), n).mid_p < 0.05 for b, c, _ in counts])
    assert 0.76 < found < 0.84


def test_visible_differences_shrink_with_images_and_grow_with_discordance() -> None:
    assert m.visible_difference(1000, 100) < m.visible_difference(1000, 200)
    assert m.visible_difference(4000, 400) == pytest.approx(m.visible_difference(1000, 100) / 2, rel=0.1)
    # without a discordant pair, what would be needed is 5 and more on one side
    assert 5 / 200 < m.visible_difference(200, 0) < 10 / 200
    assert m.visible_difference(4, 0) == 1


def test_cochran_q_by_hand() -> None:
    yes = [
        "000",
        "110",
        "010",
        "000",
        "100",
        "110",
        "110",
        "010",
        "100",
        "000",
        "110",
        "110",
        "110",
        "110",
        "110",
        "110",
    ]
    yes += ["110", "100"]
    arms = np.array([[int(c) for c in row] for row in yes]).T
    test = cochran_q(arms)
    columns, rows = arms.sum(1), arms.sum(0)
    by_hand = 2 * (3 * (columns**2).sum() - columns.sum() ** 2) / (3 * rows.sum() - (rows**2).sum())
    assert test.q == pytest.approx(by_hand)
    assert test.p == pytest.approx(np.exp(-by_hand / 2))  # χ² with two degrees of freedom
    assert (test.arms, test.n, test.informative) == (3, 18, 15)


def test_cochran_q_of_two_arms_is_mcnemar_without_correction() -> None:
    assert cochran_q(flags(12, 5, 60)).q == pytest.approx((12 - 5) ** 2 / 17)


def test_cochran_q_of_arms_that_agree() -> None:
    test = cochran_q([np.ones(5), np.ones(5), np.ones(5)])
    assert (test.q, test.p, test.informative) == (0, 1, 0)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.5, 0.9]) == [1, 1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: m.mcnemar(np.ones(3), np.ones(4)), "mcnemar: expected flags of the same images for every arm"),
        (lambda: m.mcnemar(np.ones(3), np.full(3, 0.5)), "mcnemar: expected a flag"),
        (lambda: m.mcnemar(np.ones(0), np.ones(0)), "mcnemar: expected a flag"),
        (lambda: m.of_counts(3, 3, 5), "mcnemar: expected counts"),
        (lambda: m.visible_difference(5, 6), "visible_difference: expected"),
        (lambda: cochran_q([np.ones(3)]), "cochran_q: expected at least 2 arms, got 1"),
        (lambda: holm([0.5, np.nan]), "holm: expected p-values"),
    ],
)
def test_what_is_no_flag_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(DataError, match=f"^{message}"):
        call()
