"""The paired bootstrap over images: intervals of whatever is made of several arms' accuracies."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sat_core.errors import DataError
from sat_evaluation.statistics.checks import same_images, seeds_and_images
from sat_evaluation.statistics.interval import Interval

DRAWS = 10_000
_CELLS = 4_000_000
"""Counts that are drawn at once."""

Statistic = Callable[[np.ndarray], np.ndarray]
"""Of accuracies `(..., k)`, one for each arm, the number `(...)` that is asked for."""


def bootstrap(
    arms: Sequence[object],
    statistic: Statistic,
    rng: np.random.Generator,
    *,
    draws: int = DRAWS,
    method: str = "percentile",
) -> Interval:
    """Return a number that is made of accuracies with its 95 % interval over the test images.

    Each draw takes n images with replacement, the same ones for every arm, so what the arms have in common cancels.
    Seeds are not drawn: with few of them a bootstrap says too little of them (`variance.means` is for that), and the
    interval is of these trainings.

    Args:
        arms: Flags on the same images, `(n,)` each, or `(seeds, n)`, of which the mean over seeds is taken.
        statistic: Made of their accuracies, vectorised over draws.
        rng: Draws the images.
        draws: Number of draws, >= 100.
        method: ``percentile``, or ``bca``, corrected for bias and skewness (Efron 1987). Both cover differences in 93
            to 97 % from about 20 discordant images; with fewer BCa covers less, as its corrections are estimates, too.

    Raises:
        DataError: The arms are not flags of the same images, or method or draws are none of these.
    """
    if method not in ("bca", "percentile"):
        raise DataError(f"bootstrap: expected method 'bca' or 'percentile', got {method!r}")
    if draws < 100:
        raise DataError(f"bootstrap: expected at least 100 draws, got {draws}")
    tables = [seeds_and_images("bootstrap", arm) for arm in arms]
    n = same_images("bootstrap", tables)
    # images on which all arms do the same are alike: drawing how many of each kind is drawing images, but quick
    kinds, counts = np.unique(np.stack([table.mean(0) for table in tables], 1), axis=0, return_counts=True)
    values = np.concatenate(
        [
            statistic(rng.multinomial(n, counts / n, size=size) @ kinds / n)
            for size in _parts(draws, max(1, _CELLS // len(kinds)))
        ]
    )
    value = float(statistic((counts @ kinds / n)[None])[0])
    # a ratio without a denominator is anything: it belongs to both ends
    lower, upper = (np.where(np.isnan(values), end, values) for end in (-np.inf, np.inf))
    low, high = (0.025, 0.975) if method == "percentile" else _bca(values, value, statistic, kinds, counts)
    ends = np.quantile(lower, low, method="nearest"), np.quantile(upper, high, method="nearest")
    return Interval(value, float(ends[0]), float(ends[1]))


def bootstrap_difference(one: object, other: object, rng: np.random.Generator, *, draws: int = DRAWS) -> Interval:
    """Return the difference of two accuracies on the same images; the arguments are those of `bootstrap`."""
    return bootstrap([one, other], lambda accuracy: accuracy[..., 0] - accuracy[..., 1], rng, draws=draws)


def bootstrap_recovered(
    plain: object, some: object, full: object, rng: np.random.Generator, *, draws: int = DRAWS
) -> Interval:
    """Return (some - plain)/(full - plain); `recovered.recovered` is better where the gain is near to 0.

    The other arguments are those of `bootstrap`.
    """
    return bootstrap([plain, some, full], _share, rng, draws=draws)


def _share(accuracy: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        share: np.ndarray = (accuracy[..., 1] - accuracy[..., 0]) / (accuracy[..., 2] - accuracy[..., 0])
    return share


def _parts(total: int, most: int) -> list[int]:
    return [min(most, total - start) for start in range(0, total, most)]


def _bca(
    values: np.ndarray, value: float, statistic: Statistic, kinds: np.ndarray, counts: np.ndarray
) -> tuple[float, float]:
    """The quantiles of BCa: 2.5 and 97.5 %, moved by bias and acceleration."""
    from scipy.special import ndtr, ndtri

    # draws that give just this value count half: flags make many of them
    below = float(np.mean(values < value) + np.mean(values == value) / 2)
    n = int(counts.sum())
    if not 0 < below < 1 or n < 2:
        return 0.025, 0.975
    # the jackknife: of each kind one image is left out
    left_out = statistic((counts @ kinds - kinds) / (n - 1))
    acceleration = 0.0
    if np.isfinite(left_out).all():
        apart = np.average(left_out, weights=counts) - left_out
        spread, skew = float((counts * apart**2).sum()), float((counts * apart**3).sum())
        acceleration = skew / (6 * spread**1.5) if spread > 0 else 0.0
    bias = float(ndtri(below))
    moved = [bias + z for z in (float(ndtri(0.025)), float(ndtri(0.975)))]
    low, high = (float(ndtr(bias + z / (1 - acceleration * z))) for z in moved)
    return low, high
