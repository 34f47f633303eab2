"""How much of full adversarial training's robust accuracy an arm recovers, with its interval."""

from __future__ import annotations

from math import inf, sqrt
from typing import final

import attrs

from sat_evaluation.statistics.interval import Interval
from sat_evaluation.statistics.mcnemar import LEVEL
from sat_evaluation.statistics.variance import means


@final
@attrs.frozen(kw_only=True)
class Recovered:
    """(some - plain)/(full - plain), the share of what full adversarial training brings.

    Attributes:
        interval: The share; 0 is plain training, 1 full adversarial training. It may be below 0 and above 1. Not
            bounded where the difference of full and plain training is too little known: any share is possible then. NaN
            in `value` where they are equal.
        gain: Whether full adversarial training is found to be more robust than plain training by itself, p < 5 %. An
            interval may be unbounded all the same, where the few seeds of the arm differ much.
        n: Images.
        seeds: Trainings of the plain arm, of this one, and of full adversarial training.
        over_seeds: Whether the interval is over seeds, too, or over the test images alone.
    """

    interval: Interval
    gain: bool
    n: int
    seeds: tuple[int, ...]
    over_seeds: bool


def recovered(plain: object, some: object, full: object) -> Recovered:
    """Return the share of full adversarial training's gain that an arm recovers, with Fieller's 95 % interval.

    The interval is all r at which (some - plain) - r (full - plain) is not distinguishable from 0 (Fieller 1954). A
    bootstrap of the ratio covers less than it says where the gain is a few standard errors, since the ratio's
    distribution is skewed and it cannot become unbounded; where the gain is large the two agree. See `variance.means`
    for several seeds.

    Args:
        plain, some, full: Flags of the three arms on the same images, `(seeds, n)` or `(n,)`.

    Raises:
        DataError: They are not flags of the same images.
    """
    from scipy.special import stdtrit

    arms = means([plain, some, full])
    above, gain = (-1.0, 1.0, 0.0), (-1.0, 0.0, 1.0)
    found = arms.value(gain) > 0 and arms.p(gain) < LEVEL
    numerator, denominator = arms.value(above), arms.value(gain)
    value = numerator / denominator if denominator else float("nan")
    at = [a - value * g for a, g in zip(above, gain, strict=True)] if denominator else gain
    square = float(stdtrit(arms.degrees(at), 0.975)) ** 2
    a = denominator**2 - square * arms.covariance(gain, gain)
    b = numerator * denominator - square * arms.covariance(above, gain)
    c = numerator**2 - square * arms.covariance(above, above)
    low, high = -inf, inf
    # else full and plain training differ by less than chance: all r, or all outside of an interval
    if a > 0 and denominator > 0:
        root = sqrt(max(0.0, b * b - a * c))
        low, high = min((b - root) / a, value), max((b + root) / a, value)
    interval = Interval(value, low, high)
    return Recovered(interval=interval, gain=found, n=arms.n, seeds=arms.seeds, over_seeds=arms.over_seeds)
