"""Simulations of tests and intervals of two arms with one training each, and of accuracies by themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache

import numpy as np
from simulations_model import COVERAGE, IMAGES, ROBUST, TYPE_1, Row, flags, pairs, row, spelt, words

from sat_core.accuracy import wilson
from sat_evaluation.statistics import mcnemar, paired
from sat_evaluation.statistics.bootstrap import bootstrap, bootstrap_difference
from sat_evaluation.statistics.cochran import cochran_q
from sat_evaluation.statistics.holm import holm

_TESTED = 5
"""Draws of a test for each draw of an interval: 4 to 6 % is a narrower range."""
_POINTS = 0.03
"""Difference of two arms in intervals."""
_FEW = "conservative: with few discordant images p jumps, and the next value below 5 % is far below"


def wilson_rows(rng: np.random.Generator, draws: int) -> Iterator[Row]:
    for n in IMAGES:
        for share in ROBUST:
            counts = rng.binomial(n, share, draws).tolist()
            of = cache(lambda count, n=n: wilson(count, n))
            covered = [found.low <= share <= found.high for count in counts if (found := of(count))]
            yield _interval("sat_core.accuracy.wilson", words(n, share), covered)


def mcnemar_rows(rng: np.random.Generator, draws: int) -> Iterator[Row]:
    for n in IMAGES:
        for share in ROBUST:
            counts = pairs(rng, n, share, share, draws * _TESTED)[:, 1:3].tolist()
            of = cache(lambda b, c, n=n: mcnemar.of_counts(b, c, n))
            tests = [of(b, c) for b, c in counts]
            few = np.mean([test.discordant for test in tests]) < 100
            for name, found, reason in (
                ("exact", [test.exact < 0.05 for test in tests], "conservative by construction: never above 5 %"),
                ("mid_p", [test.mid_p < 0.05 for test in tests], _FEW if few else ""),
            ):
                yield _test(f"mcnemar.mcnemar: {name}", words(n, share), found, reason)


def power_rows(rng: np.random.Generator, draws: int) -> Iterator[Row]:
    for n in IMAGES:
        # what could have been seen, by the discordant pairs without a difference
        discordant = float(pairs(rng, n, 0.4, 0.4, 1000)[:, 1:3].sum(1).mean())
        difference = mcnemar.visible_difference(n, discordant)
        p = (discordant / n + np.array([1, -1]) * difference) / 2
        counts = rng.multinomial(n, [*p, 1 - p.sum()], size=draws)[:, :2].tolist()
        of = cache(lambda b, c, n=n: mcnemar.of_counts(b, c, n).mid_p)
        setting, seen = words(n, 0.4, more=f"{100 * difference:.1f} points"), [of(b, c) < 0.05 for b, c in counts]
        yield row("mcnemar.visible_difference", "power of mid_p", setting, seen, (0.78, 0.82))


def cochran_rows(rng: np.random.Generator, draws: int) -> Iterator[Row]:
    for n in IMAGES:
        for share in ROBUST if n < IMAGES[-1] else ROBUST[1:2]:
            found = [
                cochran_q([arm[0] for arm in flags(rng, n, [share] * 5, [1] * 5)]).p < 0.05 for _ in range(2 * draws)
            ]
            yield _test("cochran.cochran_q", words(n, share, more="5 arms"), found)


def holm_rows(rng: np.random.Generator, draws: int) -> Iterator[Row]:
    for tests in (3, 10):
        p = rng.random((draws * _TESTED, tests))
        found = [min(holm(each)) < 0.05 for each in p.tolist()]
        yield _test("holm.holm", f"{tests} independent tests", found, number="one false difference or more")
    found = []
    for _ in range(draws):
        arms = [arm[0] for arm in flags(rng, 1000, [0.4] * 5, [1] * 5)]
        values = [mcnemar.mcnemar(a, b).mid_p for i, a in enumerate(arms) for b in arms[:i]]
        found.append(min(holm(values)) < 0.05)
    yield _test(
        "holm.holm",
        "10 pairs of 5 arms, 1,000 images, 40 %",
        found,
        "conservative: pairs that share an arm depend on each other, and Holm holds for the worst dependence",
        number="one false difference or more",
    )


def difference_rows(rng: np.random.Generator, draws: int) -> Iterator[Row]:
    for n in IMAGES:
        for share in ROBUST:
            counts = pairs(rng, n, share + _POINTS, share, draws).tolist()
            setting = words(n, share, more=f"{100 * _POINTS:.0f} points")
            of = cache(lambda b, c, n=n: paired.of_counts(b, c, n))
            yield _interval(
                "paired.paired_difference", setting, [_POINTS in of(b, c) for _, b, c, _ in counts], _few(n, share)
            )
            for method in ("percentile", "bca"):
                covered = [_POINTS in _bootstrapped(rng, method, each) for each in counts]
                yield _interval(f"bootstrap.bootstrap: {method}", setting, covered, _few(n, share))
    covered = [
        _POINTS in bootstrap_difference(*spelt(each), rng, draws=1000)
        for each in pairs(rng, 1000, 0.4 + _POINTS, 0.4, draws).tolist()
    ]
    yield _interval("bootstrap.bootstrap_difference", words(1000, 0.4, more="3 points"), covered)


def unpaired_rows(rng: np.random.Generator, draws: int) -> Iterator[Row]:
    for n in IMAGES:
        for share in ROBUST:
            covered = [
                _POINTS in paired.unpaired_difference(_right(a, n), _right(b, n))
                for a, b in zip(rng.binomial(n, share + _POINTS, draws), rng.binomial(n, share, draws), strict=True)
            ]
            setting = words(n, share, more="different images")
            yield _interval("paired.unpaired_difference", setting, covered)
            counts = rng.binomial(n, share, (draws * 2, 2)).tolist()
            yield _test(
                "paired.unpaired_p", setting, [paired.unpaired_p(_right(a, n), _right(b, n)) < 0.05 for a, b in counts]
            )


def _bootstrapped(rng: np.random.Generator, method: str, counts: list[int]) -> object:
    return bootstrap(spelt(counts), lambda a: a[..., 0] - a[..., 1], rng, draws=1000, method=method)


def _few(n: int, share: float) -> str:
    return "few discordant images: the difference takes few values" if n * share <= 20 else ""


def _right(count: int, n: int) -> np.ndarray:
    return np.arange(n) < count


def _interval(function: str, setting: str, covered: Sequence[bool], reason: str = "") -> Row:
    return row(function, "coverage", setting, covered, COVERAGE, reason)


def _test(function: str, setting: str, found: Sequence[bool], reason: str = "", number: str = "type-I error") -> Row:
    return row(function, number, setting, found, TYPE_1, reason)


PARTS: tuple[Callable[[np.random.Generator, int], Iterator[Row]], ...] = (
    wilson_rows,
    mcnemar_rows,
    power_rows,
    cochran_rows,
    holm_rows,
    difference_rows,
    unpaired_rows,
)
