"""McNemar's test: whether two networks are right on as many of the same images."""

from __future__ import annotations

from math import ceil
from typing import final

import attrs
import numpy as np

from sat_core.errors import DataError
from sat_evaluation.statistics.checks import flags, same_images

LEVEL = 0.05
"""Type-I error that a test may have."""
POWER = 0.8
"""Chance with which a difference that could have been seen is found."""


@final
@attrs.frozen(kw_only=True)
class McNemar:
    """McNemar's test of two arms on the same images.

    Attributes:
        n: Images.
        only_one, only_other: Images on which only the first, only the second is right: the discordant pairs. The
            others say nothing of the difference.
        exact: Two-sided p-value of the binomial distribution of `only_one` in all discordant pairs, at a chance of
            1/2. Its type-I error is never above 5 %, and mostly far below.
        mid_p: The same, with half of the probability of what was seen. Its type-I error is near 5 % (4 to 6 % with 25
            and more discordant pairs, below with fewer); the one to use (Fagerland, Lydersen and Laake 2013).
    """

    n: int
    only_one: int
    only_other: int
    exact: float
    mid_p: float

    @property
    def discordant(self) -> int:
        """Images on which just one of the two is right."""
        return self.only_one + self.only_other

    @property
    def difference(self) -> float:
        """First minus second accuracy, in [-1, 1]."""
        return (self.only_one - self.only_other) / self.n


def mcnemar(one: np.ndarray, other: np.ndarray) -> McNemar:
    """Test whether two arms are right on as many of the same images.

    Args:
        one, other: Flags of the same images, bool `(n,)`, n >= 1.

    Raises:
        DataError: They are not flags, or not of the same number of images.

    >>> test = mcnemar(np.repeat([1, 0, 1], [10, 2, 88]), np.repeat([0, 1, 1], [10, 2, 88]))
    >>> test.discordant, round(test.exact, 4), round(test.mid_p, 4)
    (12, 0.0386, 0.0225)
    """
    first, second = flags("mcnemar", one), flags("mcnemar", other)
    n = same_images("mcnemar", (first, second))
    return of_counts(int((first & ~second).sum()), int((second & ~first).sum()), n)


def of_counts(only_one: int, only_other: int, n: int) -> McNemar:
    """Do McNemar's test from the counts of discordant pairs; the arguments are attributes of `McNemar`.

    Raises:
        DataError: A count is negative, or they are more than `n` together.
    """
    from scipy.special import bdtr

    if min(only_one, only_other) < 0 or n < 1 or only_one + only_other > n:
        raise DataError(f"mcnemar: expected counts of n >= 1 images, got {only_one} and {only_other} of {n}")
    fewer, both = min(only_one, only_other), only_one + only_other
    tail, seen = float(bdtr(fewer, both, 0.5)), float(_binomial(fewer, both, 0.5))
    return McNemar(
        n=n, only_one=only_one, only_other=only_other, exact=min(1.0, 2 * tail), mid_p=min(1.0, 2 * tail - seen)
    )


def visible_difference(n: int, discordant: float, *, power: float = POWER, level: float = LEVEL) -> float:
    """Return the smallest difference of two accuracies that the mid-P test finds with a chance of `power`.

    The discordant pairs are taken to be as frequent as they were; of a difference larger than that, they are all in
    favour of one arm. The power is that of the binomial distributions, not of their normal approximation (Connor 1987
    has that).

    Args:
        n: Images, >= 1.
        discordant: Images on which just one of the two arms is right, 0 to n; a mean over seeds need not be whole.
        power, level: The chance to find it, and the p-value below which it counts as found, in (0, 1).

    Returns:
        A share in (0, 1]; 1 also where not even that could be found, as with less than 5 images.

    >>> round(visible_difference(1000, 200), 3)
    0.039
    """
    if not 0 <= discordant <= n or n < 1:
        raise DataError(f"visible_difference: expected 0 <= discordant <= n, got {discordant} of {n}")
    # bisection between half and twice what the normal approximation says, or where that is not enough, 0 and 1
    near = 2.8 * (max(discordant, 8) / n / n) ** 0.5
    low, high = 0.0 if _power(n, discordant / n, near / 2, level) >= power else near / 2, min(1.0, 2 * near)
    if _power(n, discordant / n, high, level) < power:
        low, high = high, 1.0
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        found = _power(n, discordant / n, middle, level) >= power
        low, high = (low, middle) if found else (middle, high)
    return high


def _power(n: int, discordance: float, difference: float, level: float) -> float:
    """Chance that the mid-P test finds a difference."""
    from scipy.special import bdtr

    discordance = min(1.0, max(discordance, difference))
    share = (1 + difference / discordance) / 2  # of the discordant pairs, in favour of the better arm
    # numbers of discordant pairs beyond 6 standard deviations add nothing
    spread = 6 * (n * discordance * (1 - discordance)) ** 0.5 + 1
    pairs = np.arange(max(0, int(n * discordance - spread)), min(n, ceil(n * discordance + spread)) + 1)
    critical = _critical(pairs, level)
    able = critical >= 0
    pairs, critical, chance = pairs[able], critical[able], _binomial(pairs, n, discordance)[able]
    found = bdtr(critical, pairs, 1 - share) + bdtr(critical, pairs, share)
    return float((chance * found).sum())


def _critical(pairs: np.ndarray, level: float) -> np.ndarray:
    """Largest count on the losing side of `pairs` that the mid-P test still finds; -1 where none is."""
    from scipy.special import bdtr, ndtri

    # the normal approximation is right within one or two
    count = np.minimum(np.ceil((pairs + ndtri(level / 2) * np.sqrt(pairs)) / 2) + 2, (pairs - 1) // 2)
    for _ in range(8):
        some = np.maximum(count, 0)
        tail = 2 * bdtr(some, pairs, 0.5) - _binomial(some, pairs, 0.5)
        count = np.where((count >= 0) & (tail > level), count - 1, count)
    return np.maximum(count, -1)


def _binomial(count: np.ndarray | int, n: np.ndarray | int, chance: float) -> np.ndarray:
    """Probability of `count` in `n`."""
    from scipy.special import gammaln, xlog1py, xlogy

    ways = gammaln(np.add(n, 1)) - gammaln(np.add(count, 1)) - gammaln(np.subtract(n, count) + 1)
    result: np.ndarray = np.exp(ways + xlogy(count, chance) + xlog1py(np.subtract(n, count), -chance))
    return result
