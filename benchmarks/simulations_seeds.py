"""Simulations of what takes several trainings of each arm: means, their differences, and the recovered share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from scipy.stats import norm
from simulations_model import COVERAGE, IMAGES, ROBUST, TRAINING, TYPE_1, Row, flags, row, words

from sat_evaluation.statistics.bootstrap import bootstrap_recovered
from sat_evaluation.statistics.estimate import estimate
from sat_evaluation.statistics.recovered import recovered
from sat_evaluation.statistics.variance import means

_DIFFERENCE = (1.0, -1.0)
_PLAIN, _FULL = 0.02, 1.2
"""Robust accuracy of plain training, and of full AT as a multiple of the arm's."""


def seeds_rows(rng: np.random.Generator, draws: int) -> Iterator[Row]:
    """Two arms that are equally robust: the test and the interval are of 0."""
    for n in IMAGES:
        for share in ROBUST if n < IMAGES[-1] else ROBUST[1:2]:
            for seeds in ((3, 3), (5, 5), (1, 3), (1, 5)):
                p, inside = [], []
                for _ in range(2 * draws):
                    both = means(flags(rng, n, [share] * 2, seeds))
                    p.append(both.p(_DIFFERENCE) < 0.05)
                    inside.append(0 in both.interval(_DIFFERENCE))
                many = seeds[0] if seeds[0] == seeds[1] else f"{seeds[0]} and {seeds[1]}"
                setting, reason = words(n, share, many), _few(seeds, n)
                yield row("variance.Means.p", "type-I error", setting, p, TYPE_1, reason)
                yield row("variance.Means.interval", "coverage", setting, inside[:draws], COVERAGE, reason)


def overall_rows(rng: np.random.Generator, draws: int) -> Iterator[Row]:
    """Several arms that are equally robust."""
    for n in IMAGES[:2]:
        for seeds in ((3, 3, 3, 3), (3,) * 10, (5,) * 6, (1, 3, 3, 1), (3, 1, 1, 1, 1)):
            found = [means(flags(rng, n, [0.4] * len(seeds), seeds)).overall()[-1] < 0.05 for _ in range(2 * draws)]
            many = seeds[0] if len(set(seeds)) == 1 else ", ".join(map(str, seeds[:-1])) + f" and {seeds[-1]}"
            setting = words(n, 0.4, many, f"{len(seeds)} arms")
            yield row("variance.Means.overall", "type-I error", setting, found, TYPE_1, _few(seeds, n))


def matched_rows(rng: np.random.Generator, draws: int) -> Iterator[Row]:
    for seeds in (3, 5):
        found = [means(_alike(rng, 1000, seeds), matched=True).p(_DIFFERENCE) < 0.05 for _ in range(2 * draws)]
        yield row(
            "variance.means: matched",
            "type-I error",
            words(1000, 0.4, seeds, "alike by seed"),
            found,
            TYPE_1,
            _few((seeds,)),
        )


def unpaired_rows(rng: np.random.Generator, draws: int) -> Iterator[Row]:
    for n in IMAGES[:2]:
        for seeds in (3, 5):
            found, inside = [], []
            for _ in range(2 * draws):
                one, other = (flags(rng, n, [0.4], [seeds])[0] for _ in range(2))
                test = estimate(one, other, same=False)
                found.append(test.p < 0.05)
                inside.append(0 in test.difference)
            setting = words(n, 0.4, seeds, "different images")
            yield row("estimate.estimate: p", "type-I error", setting, found, TYPE_1, _few((seeds,)))
            yield row("estimate.estimate: difference", "coverage", setting, inside[:draws], COVERAGE, _few((seeds,)))


def recovered_rows(rng: np.random.Generator, draws: int) -> Iterator[Row]:
    for n in IMAGES:
        for share in ROBUST:
            for seeds in (1, 3, 5):
                if n == IMAGES[-1] and share != 0.4:
                    continue
                arms = [_PLAIN, share, _FULL * share]
                truth = (share - _PLAIN) / (_FULL * share - _PLAIN)
                drawn = (flags(rng, n, arms, [seeds] * 3) for _ in range(draws))
                inside = [truth in recovered(*each).interval for each in drawn]
                yield row(
                    "recovered.recovered", "coverage", words(n, share, seeds, f"{100 * truth:.0f} % recovered"), inside
                )
    for n in IMAGES[:2]:
        for share in ROBUST[:2]:
            truth = (share - _PLAIN) / (_FULL * share - _PLAIN)
            inside = [
                truth
                in bootstrap_recovered(
                    *(a[0] for a in flags(rng, n, [_PLAIN, share, _FULL * share], [1] * 3)), rng, draws=1000
                )
                for _ in range(draws)
            ]
            reason = "the gain is a few standard errors: a ratio's bootstrap is too narrow" if n * share < 100 else ""
            yield row(
                "bootstrap.bootstrap_recovered",
                "coverage",
                words(n, share, 1, f"{100 * truth:.0f} % recovered"),
                inside,
                reason=reason,
            )


def _alike(rng: np.random.Generator, n: int, seeds: int) -> list[np.ndarray]:
    """Two arms whose seeds of the same place have half of their deviation in common."""
    hard = rng.standard_normal(n)
    common, own = (TRAINING * 0.5**0.5 * rng.standard_normal((k, seeds, 1)) for k in (1, 2))
    return [
        0.6**0.5 * hard + 0.4**0.5 * rng.standard_normal((seeds, n)) < norm.ppf(0.4) + common[0] + each for each in own
    ]


def _few(seeds: tuple[int, ...], n: int = 1000) -> str:
    if min(seeds) == 1:
        return "one arm has no variance over seeds of its own, and that of the others stands for it"
    if n == IMAGES[0]:
        return "conservative: with few images, the discordant ones that are added count"
    return "few seeds: the variance between them is known badly" if min(seeds) <= 3 else ""


PARTS: tuple[Callable[[np.random.Generator, int], Iterator[Row]], ...] = (
    seeds_rows,
    overall_rows,
    matched_rows,
    unpaired_rows,
    recovered_rows,
)
