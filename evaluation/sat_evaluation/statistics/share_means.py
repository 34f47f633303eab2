"""Mean accuracies over the share of A, with the covariance that images and seeds give them."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import final

import attrs
import numpy as np

from sat_core.errors import DataError
from sat_evaluation.statistics.variance import means


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
    and what their counts differ by beyond it, one for all arms.

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
    smooth = (good + 1) / (n + 2)
    variances = smooth * (1 - smooth) / n
    numbers = np.array([len(one) for one in seeds])
    freedom = numbers - 1
    degrees = inf
    if freedom.any():
        between = np.array([one.var(ddof=1) if len(one) > 1 else 0.0 for one in seeds]) / n**2
        beyond = max(0.0, float((freedom * (between - variances)).sum() / freedom.sum()))
        whole, of_seeds = float((variances + beyond / numbers).sum()), float((beyond / numbers).sum())
        degrees = whole**2 / (of_seeds**2 / float(freedom.sum())) if of_seeds else inf
        variances = variances + beyond / numbers
    return ShareMeans(
        shares=np.asarray(shares, np.float64),
        values=good / n,
        covariance=np.diag(variances),
        degrees=degrees,
        over_seeds=bool(freedom.any()),
    )


def flag_means(shares: Sequence[float], arms: Sequence[object]) -> ShareMeans:
    """Return accuracies from flags of the same images, which the arms have in common.

    With several seeds of an arm, the variance over seeds is one for all arms: a curve has many arms with few seeds.

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
        weights = freedom / freedom.sum()
        training, shared = (float((part * seeds) @ weights) for part in (every.trainings, every.shared))
        # the interaction of seeds and images is in the variance over images already
        training = max(0.0, training - shared)
        covariance = every.images + np.diag(training / seeds)
        of_seeds, whole = float((training / seeds).sum()), float(np.trace(covariance))
        squares = (whole - of_seeds) ** 2 / degrees + of_seeds**2 / float(freedom.sum())
        degrees = max(1.0, whole**2 / squares) if squares > 0 else degrees
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
