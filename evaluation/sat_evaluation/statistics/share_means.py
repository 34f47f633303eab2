"""Mean accuracies over the share of A, with the covariance that images and seeds give them."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import final

import attrs
import numpy as np

from sat_core.errors import DataError
from sat_evaluation.statistics.variance import means

_DOUBT = 4.0
"""How often the variance over seeds counts in the degrees of freedom; chosen by simulation (docs/statistics.md)."""


@final
@attrs.frozen(kw_only=True, eq=False)
class ShareMeans:
    """Accuracies at several shares of A.

    Attributes:
        shares: s = |A|/N, ascending, each once, in [0, 1], `(k,)`.
        values: Accuracies, means over seeds, `(k,)`.
        covariance: Of the values, `(k, k)`, over images and, where there are several, seeds.
        degrees: Degrees of freedom of the covariance; infinite where it is as good as known.
        over_seeds: Whether the covariance is over seeds, too.
    """

    shares: np.ndarray
    values: np.ndarray
    covariance: np.ndarray
    degrees: float = inf
    over_seeds: bool = False

    def __attrs_post_init__(self) -> None:
        k = len(self.shares)
        if self.values.shape != (k,) or self.covariance.shape != (k, k):
            raise DataError(
                f"curve over |A|: expected an accuracy for each of {k} shares and their covariance ({k}, {k}), got "
                f"{self.values.shape} and {self.covariance.shape}"
            )
        if k and not (self.shares[0] >= 0 and self.shares[-1] <= 1 and (np.diff(self.shares) > 0).all()):
            raise DataError(f"curve over |A|: expected ascending shares in [0, 1], got {self.shares.tolist()}")
        if not (np.isfinite(self.values).all() and np.isfinite(self.covariance).all()):
            raise DataError("curve over |A|: expected finite accuracies and variances, got NaN or infinity")

    @property
    def deviations(self) -> np.ndarray:
        """Standard deviation of each accuracy, `(k,)`."""
        return np.sqrt(np.diag(self.covariance))


def binomial_means(shares: Sequence[float], counts: Sequence[int | Sequence[int]], images: Sequence[int]) -> ShareMeans:
    """Return accuracies from counts alone: arms are taken to be independent, which widens intervals.

    Variances are those of (count + 1)/(n + 2), so that 0 of n still has one; of several seeds, that of their mean count
    and what their counts differ by beyond it, pooled in proportion to
    p² (1 - p)².

    Args:
        shares: |A|/N, ascending.
        counts: Robust images of each arm, or of each of its seeds.
        images: n of each arm, >= 1.

    Raises:
        DataError: The shares are not ascending in [0, 1], or a count is not of its images.
    """
    n, seeds = np.asarray(images, np.float64), [np.atleast_1d(np.asarray(one, np.float64)) for one in counts]
    if len(n) != len(seeds) or any(
        len(one) == 0 or m < 1 or one.min() < 0 or one.max() > m for one, m in zip(seeds, n, strict=False)
    ):
        raise DataError("curve over |A|: expected 0 <= count <= images for each arm")
    good = np.array([one.mean() for one in seeds])
    variances = _binomial(good / n, n) / n
    numbers = np.array([len(one) for one in seeds])
    freedom, degrees = numbers - 1, inf
    if freedom.any():
        between = np.array([one.var(ddof=1) if len(one) > 1 else 0.0 for one in seeds]) / n**2
        alike, known = _alike(good / n, n, between - variances, freedom)
        variances = variances + alike / numbers
        degrees = _degrees(np.diag(variances), alike / numbers, inf, known)
    return ShareMeans(
        shares=np.asarray(shares, np.float64),
        values=good / n,
        covariance=np.diag(variances),
        degrees=degrees,
        over_seeds=bool(freedom.any()),
    )


def flag_means(shares: Sequence[float], arms: Sequence[object]) -> ShareMeans:
    """Return accuracies from flags of the same images, which the arms have in common.

    With several seeds of an arm, the variance over seeds is pooled: a curve has many arms with few seeds. It is taken
    to go with p² (1 - p)².

    Args:
        shares: |A|/N of each arm, ascending.
        arms: Flags, `(n,)` or `(seeds, n)` each.

    Raises:
        DataError: They are not flags of the same images, or the shares are not ascending in [0, 1].
    """
    every = means(arms)
    seeds = np.array(every.seeds)
    covariance, degrees = every.images, float(every.n - 1)
    if every.over_seeds:
        # where an arm has one seed, `means` has pooled already, and its variances are the same for all arms
        freedom = np.maximum(seeds - 1, 0)
        # the interaction of seeds and images is in the variance over images already
        beyond = (every.trainings - every.shared) * seeds
        alike, known = _alike(every.values, every.n, beyond, freedom)
        covariance = every.images + np.diag(alike / seeds)
        degrees = _degrees(covariance, alike / seeds, degrees, known)
    # of few images, the parts of a difference may leave a variance below 0
    least = 1 / (4 * every.n**2)
    variances, axes = np.linalg.eigh(covariance)
    return ShareMeans(
        shares=np.asarray(shares, np.float64),
        values=every.values,
        covariance=(axes * np.maximum(variances, least)) @ axes.T,
        degrees=degrees,
        over_seeds=every.over_seeds,
    )


def _binomial(values: np.ndarray, n: np.ndarray | int) -> np.ndarray:
    """p (1 - p) for (count + 1)/(n + 2), so that an accuracy of 0 still varies."""
    smooth = (values * n + 1) / (n + 2)
    variances: np.ndarray = smooth * (1 - smooth)
    return variances


def _alike(
    values: np.ndarray, n: np.ndarray | int, beyond: np.ndarray, freedom: np.ndarray
) -> tuple[np.ndarray, float]:
    """Variance of one seed of each arm, pooled in proportion to p² (1 - p)², as if trainings moved the logit of p.

    Args:
        values: Accuracies `(k,)`.
        n: Images.
        beyond: Variances over seeds less what images explain, `(k,)`.
        freedom: Degrees of freedom of these.

    Returns:
        The variances `(k,)`, and their degrees of freedom.
    """
    shape = _binomial(values, n) ** 2
    known = freedom * shape
    alike: np.ndarray = shape * max(0.0, float((freedom * beyond).sum() / known.sum()))
    return alike, float(known.sum() ** 2 / (known * shape).sum())


def _degrees(covariance: np.ndarray, of_seeds: np.ndarray, of_images: float, freedom: float) -> float:
    """Degrees of freedom of a curve's shape (Satterthwaite 1946): what moves all arms alike is no part of it.

    The part of seeds counts `_DOUBT` times. It is known from few seeds, and where it comes out too small by chance, the
    images would seem to decide.
    """
    k = len(covariance)
    centre = np.eye(k) - 1 / k
    whole, seeds = float(np.trace(centre @ covariance)), float(np.trace(centre @ np.diag(of_seeds)))
    images, seeds = max(0.0, whole - seeds), _DOUBT * seeds
    squares = images**2 / of_images + seeds**2 / freedom
    return max(1.0, (images + seeds) ** 2 / squares) if squares > 0 else of_images
