"""A conclusion each: two arms, all arms, the share that an arm recovers; as values and as a sentence."""

from __future__ import annotations

from math import isnan
from typing import Any, final

import attrs

from sat_evaluation.results.rows import Row
from sat_evaluation.results.text import percent
from sat_evaluation.statistics.estimate import Estimate
from sat_evaluation.statistics.interval import Interval
from sat_evaluation.statistics.mcnemar import LEVEL
from sat_evaluation.statistics.recovered import Recovered

_WORDS = {"robust": "robust", "clean": "accurate on clean images"}


@final
@attrs.frozen(kw_only=True)
class Comparison:
    """Two groups of arms, compared.

    Attributes:
        one, other: What they are called.
        one_arms, other_arms: Names of their arms, one for each seed.
        measure: ``robust`` or ``clean``.
        one_value, other_value: Mean accuracies over seeds, in [0, 1].
        estimate: First minus second, with its interval and p-value.
        adjusted: p-value after Holm's correction for all pairs that were compared, in [0, 1].
        tests: How many these are.
    """

    one: str
    other: str
    one_arms: tuple[str, ...]
    other_arms: tuple[str, ...]
    measure: str
    one_value: float
    other_value: float
    estimate: Estimate
    adjusted: float
    tests: int

    @property
    def found(self) -> bool:
        """Whether there is a difference: the adjusted p-value is below 5 %."""
        return self.adjusted < LEVEL

    @property
    def verdict(self) -> str:
        """``difference``, or ``none found, could have seen 4.2 points``."""
        return "difference" if self.found else f"none found, {seen(self.estimate)}"

    @property
    def sentence(self) -> str:
        """The comparison in words, with interval, p-value, method and number of images."""
        found, low, high = (100 * x for x in attrs.astuple(self.estimate.difference))
        p = f"{p_text(self.estimate.p)}" + (f", adjusted {p_number(self.adjusted)}" if self.tests > 1 else "")
        how = f"{p}; {self.estimate.how}; {self._n}"
        if self.found:
            return f"{self.one} is {more(self.estimate.difference)} {_WORDS[self.measure]} than {self.other} ({how})"
        return (
            f"no difference found between {self.one} and {self.other} ({found:+.1f} points [{low:+.1f}, {high:+.1f}], "
            f"{how}); {seen(self.estimate)}"
        )

    @property
    def _n(self) -> str:
        one, other = self.estimate.n
        n = f"n = {one:,}" if one == other else f"n = {one:,} and {other:,}"
        seeds = self.estimate.seeds
        return n if max(seeds) == 1 else f"{n}, {seeds[0]} and {seeds[1]} seeds"

    def record(self) -> dict[str, Any]:
        """Return the values for CSV and JSON; accuracies and differences are shares."""
        found = self.estimate
        return {
            "one": self.one,
            "other": self.other,
            "one_arms": " ".join(self.one_arms),
            "other_arms": " ".join(self.other_arms),
            "accuracy": self.measure,
            "one_value": self.one_value,
            "other_value": self.other_value,
            "difference": found.difference.value,
            "low": found.difference.low,
            "high": found.difference.high,
            "p": found.p,
            "p_exact": found.exact,
            "p_holm": self.adjusted,
            "pairs_tested": self.tests,
            "difference_found": self.found,
            "could_have_seen": found.visible,
            "n_one": found.n[0],
            "n_other": found.n[1],
            "seeds_one": found.seeds[0],
            "seeds_other": found.seeds[1],
            "discordant": found.discordant,
            "over": found.over,
            "how": found.how,
        }


@final
@attrs.frozen(kw_only=True)
class Overall:
    """All arms of a study at once.

    Attributes:
        how: The test.
        arms: How many groups of seeds are compared.
        n: Images that all of them have.
        statistic, p: Its value and p-value.
        measure: ``robust`` or ``clean``.
    """

    how: str
    arms: int
    n: int
    statistic: float
    p: float
    measure: str

    @property
    def found(self) -> bool:
        """Whether the arms differ: the p-value is below 5 %."""
        return self.p < LEVEL

    @property
    def sentence(self) -> str:
        """The test in words."""
        what = f"{self.how} = {self.statistic:.1f}, {p_text(self.p)}; n = {self.n:,}"
        if self.found:
            return f"the {self.arms} trainings differ in {self.measure} accuracy ({what})"
        return f"no difference found among the {self.arms} trainings in {self.measure} accuracy ({what})"


@final
@attrs.frozen(kw_only=True)
class Share:
    """What arms recover of the robust accuracy that full adversarial training brings.

    Attributes:
        name: What they are called.
        arms: Their names, one for each seed.
        row: The first of them.
        recovered: The share with its interval.
    """

    name: str
    arms: tuple[str, ...]
    row: Row
    recovered: Recovered

    @property
    def text(self) -> str:
        """``71 % [62, 80]``; where the gain of full AT is within chance, that the share can be anything."""
        interval = self.recovered.interval
        if isnan(interval.value):
            return "an unknown share"
        value = percent(interval.value)
        if not interval.bounded:
            gain = self.recovered.gain
            why = "few seeds differ much" if gain else "full AT is not found to be better than plain training"
            return f"{value} [any share: {why}]"
        return f"{value} [{100 * interval.low:.0f}, {100 * interval.high:.0f}]"

    @property
    def over(self) -> str:
        """What the interval is over."""
        return "test images and seeds" if self.recovered.over_seeds else "test images"


def seen(estimate: Estimate) -> str:
    """Return which difference would have been found in most cases: ``could have seen 4.2 points``."""
    # beyond all differences, as of two seeds that are far apart
    return "could have seen none" if estimate.visible >= 1 else f"could have seen {points(estimate.visible)}"


def points(share: float) -> str:
    """Return a difference of shares in points.

    >>> points(0.042)
    '4.2 points'
    """
    return f"{100 * share:.1f} points"


def more(difference: Interval) -> str:
    """Return a difference with its interval as ``4.0 points [0.1, 8.5] more``, a negative one as so much ``less``.

    An end beyond 0 keeps its sign: test and interval are different methods, and seldom disagree.

    >>> more(Interval(-0.04, -0.085, 0.001))
    '4.0 points [-0.1, 8.5] less'
    """
    word, one = ("more", difference) if difference.value > 0 else ("less", -difference)
    return f"{points(one.value)} [{100 * one.low:.1f}, {100 * one.high:.1f}] {word}"


def p_number(p: float) -> str:
    """Return a p-value as short as it may be.

    >>> [p_number(p) for p in (0.00001, 0.00042, 0.0123, 0.2345, 1)]
    ['< 0.0001', '0.0004', '0.012', '0.23', '1']
    """
    if p < 0.0001:
        return "< 0.0001"
    digits = 4 if p < 0.001 else 3 if p < 0.1 else 2
    return f"{p:.{digits}f}" if p < 0.995 else "1"


def p_text(p: float) -> str:
    """Return ``p = 0.012`` or ``p < 0.0001``."""
    number = p_number(p)
    return f"p {number}" if number.startswith("<") else f"p = {number}"
