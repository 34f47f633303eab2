"""Simulations of the law of |A| and of the monotone spline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from simulations_model import IMAGES, TYPE_1, Row, flags, row, words

from sat_evaluation.statistics.law import OF_FULL, Law, bootstrap_share_for, fit_law
from sat_evaluation.statistics.profile import gained, share_of
from sat_evaluation.statistics.share_means import binomial_means, flag_means
from sat_evaluation.statistics.spline import fit_spline

FOUR = (0.0, 0.1, 0.5, 1.0)
FIVE = (0.0, 0.1, 0.3, 0.5, 1.0)
ELEVEN = tuple(k / 10 for k in range(11))
_KAPPA = 0.08
"""Between those of the published curves of CIFAR-10 and CIFAR-100."""
_AT = 0.2
"""|A|/N at which the band is looked at."""
_UNSEEN = "one training of each arm: what others would give is seen only as scatter around the curve; run several seeds"


def law_rows(rng: np.random.Generator, draws: int) -> Iterator[Row]:
    for n in IMAGES:
        for seeds in (1, 3, 5):
            yield from _law(rng, draws, FIVE, n, 0.7, seeds)
    for shares in (FOUR, ELEVEN):
        for seeds in (1, 3):
            yield from _law(rng, draws, shares, 1000, 0.7, seeds)
    for full in (0.1, 0.4):
        yield from _law(rng, draws, FIVE, 1000, full, 1)
    yield from _law(rng, draws, FIVE, 1000, 0.7, 1, plain=0.3)


def unseen_rows(rng: np.random.Generator, draws: int) -> Iterator[Row]:
    """One training of each arm, where the truth is the mean over all trainings."""
    truth, enough = _truth(FIVE, 0.02, 0.7)
    inside = []
    for _ in range(draws):
        # two seeds are drawn, so that they vary, and one is looked at
        arms = [arm[:1] for arm in flags(rng, 1000, truth, [2] * len(truth))]
        inside.append(enough in fit_law(flag_means(FIVE, arms)).share_for(OF_FULL))
    setting = words(1000, "full AT 70 %", more="5 sizes, truth over all trainings")
    yield row("law.Law.share_for", "coverage", setting, inside, reason=_UNSEEN)


def count_rows(rng: np.random.Generator, draws: int) -> Iterator[Row]:
    """Arms are taken to be independent, although they have the images in common."""
    truth, enough = _truth(FIVE, 0.02, 0.7)
    inside = []
    for _ in range(draws):
        counts = [int(arm.sum()) for arm in flags(rng, 1000, truth, [1] * 5)]
        inside.append(enough in fit_law(binomial_means(FIVE, counts, [1000] * 5)).share_for(OF_FULL))
    yield row(
        "share_means.binomial_means, law.Law.share_for",
        "coverage",
        words(1000, "full AT 70 %", more="5 sizes, counts alone"),
        inside,
        reason="conservative: what arms have in common moves the curve as a whole, and counts do not show it",
    )


def bootstrap_rows(rng: np.random.Generator, draws: int) -> Iterator[Row]:
    truth, enough = _truth(FIVE, 0.02, 0.7)
    inside = []
    for _ in range(draws):
        arms = [arm[0] for arm in flags(rng, 1000, truth, [1] * 5)]
        inside.append(enough in bootstrap_share_for(FIVE, arms, rng, draws=200))
    yield row("law.bootstrap_share_for", "coverage", words(1000, "full AT 70 %", more="5 sizes"), inside)


def spline_rows(rng: np.random.Generator, draws: int) -> Iterator[Row]:
    for k in (5, 11):
        shares = np.linspace(0, 1, k).tolist()
        for n in IMAGES[:2]:
            arms = (flags(rng, n, [0.4] * k, [1] * k) for _ in range(2 * draws))
            found = [fit_spline(flag_means(shares, each)).p < 0.05 for each in arms]
            yield row(
                "spline.fit_spline: p", "type-I error", words(n, "40 % at each", more=f"{k} sizes"), found, TYPE_1
            )
    shares = list(FIVE)
    arms = (flags(rng, 1000, _truth(FIVE, 0.02, 0.7)[0], [1] * 5) for _ in range(draws))
    found = [fit_spline(flag_means(shares, each)).p < 0.05 for each in arms]
    reason = "conservative: p holds for a flat curve, and this one rises"
    yield row("spline.fit_spline: p", "type-I error", words(1000, "2 to 70 %", more="5 sizes"), found, TYPE_1, reason)


def _law(
    rng: np.random.Generator,
    draws: int,
    shares: Sequence[float],
    n: int,
    full: float,
    seeds: int,
    plain: float = 0.02,
) -> Iterator[Row]:
    truth, enough = _truth(shares, plain, full)
    middle = plain + (full - plain) * float(gained(np.array(_AT), _KAPPA))
    reached, band, found = [], [], []
    for _ in range(draws):
        law: Law = fit_law(flag_means(shares, flags(rng, n, truth, [seeds] * len(shares))))
        reached.append(enough in law.share_for(OF_FULL))
        low, high = law.band([_AT])
        band.append(bool(low[0] <= middle <= high[0]))
        found.append(law.p < 0.05)
    few = "few seeds: the variance between them is known badly" if seeds == 3 else ""
    setting = words(n, f"{100 * plain:.0f} to {100 * full:.0f} %", seeds, f"{len(shares)} sizes")
    wide = "conservative: 95 % of so small a gain is hardly known, and most intervals are wide" if full < 0.2 else ""
    yield row("law.Law.share_for", "coverage", setting, reached, reason=wide)
    yield row("law.Law.band", "coverage", setting, band)
    yield row("law.fit_law: p", "type-I error", setting, found, TYPE_1, few)


def _truth(shares: Sequence[float], plain: float, full: float) -> tuple[list[float], float]:
    values = plain + (full - plain) * gained(np.array(shares), _KAPPA)
    return values.tolist(), float(share_of((OF_FULL * full - plain) / (full - plain), _KAPPA))


PARTS: tuple[Callable[[np.random.Generator, int], Iterator[Row]], ...] = (
    law_rows,
    unseen_rows,
    count_rows,
    bootstrap_rows,
    spline_rows,
)
