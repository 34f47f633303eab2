"""Paired tests against those of statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import cochrans_q
from statsmodels.stats.contingency_tables import mcnemar as their_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep

from sat_evaluation.statistics.cochran import cochran_q
from sat_evaluation.statistics.holm import holm
from sat_evaluation.statistics.mcnemar import mcnemar
from sat_evaluation.statistics.paired import unpaired_difference

pytestmark = pytest.mark.interop


def arms(k: int, n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=n) + rng.normal(size=(k, n)) + rng.normal(size=(k, 1)) / 5 > 0.3


@pytest.mark.parametrize("seed", range(20))
def test_exact_mcnemar(seed: int) -> None:
    one, other = arms(2, 20 + 10 * seed, seed)
    table = [[(one & other).sum(), (one & ~other).sum()], [(~one & other).sum(), (~one & ~other).sum()]]
    assert mcnemar(one, other).exact == pytest.approx(their_mcnemar(table, exact=True).pvalue)


@pytest.mark.parametrize("k", [2, 3, 7])
def test_cochran_q(k: int) -> None:
    table = arms(k, 300, k)
    ours, theirs = cochran_q(table), cochrans_q(table.T.astype(int))
    assert (ours.q, ours.p) == (pytest.approx(theirs.statistic), pytest.approx(theirs.pvalue))


@pytest.mark.parametrize("count", [1, 2, 30])
def test_holm(count: int) -> None:
    p = np.random.default_rng(count).random(count) ** 3
    assert holm(p.tolist()) == pytest.approx(multipletests(p, method="holm")[1])


def test_newcombe() -> None:
    one, other = arms(1, 80, 0)[0], arms(1, 130, 1)[0]
    ours = unpaired_difference(one, other)
    theirs = confint_proportions_2indep(one.sum(), 80, other.sum(), 130, method="newcomb")
    assert (ours.low, ours.high) == pytest.approx(theirs)
