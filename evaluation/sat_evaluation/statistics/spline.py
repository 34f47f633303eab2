"""A monotone curve over |A| without a law, to see where the law does not fit."""

from __future__ import annotations

from typing import final

import attrs
import numpy as np

from sat_core.errors import DataError
from sat_evaluation.statistics.share_means import ShareMeans

_LEAST_SHARES = 2


@final
@attrs.frozen(kw_only=True, eq=False)
class Spline:
    """The most likely robust accuracies that never fall with |A|, and a monotone spline through them.

    Attributes:
        means: What it was fitted to.
        values: Accuracy at each share, never falling, `(k,)`; where measured ones fall, they are pooled to their mean.
        misfit: Least χ² of the measured accuracies around any that never fall; 0 if they never do.
        p: Chance of such a misfit or a larger one if robust accuracy never falls with |A|.
    """

    means: ShareMeans
    values: np.ndarray
    misfit: float
    p: float

    def at(self, shares: object) -> np.ndarray:
        """Return the curve at shares of A between the least and the largest one; NaN outside of them.

        Pieces are cubic and monotone (Fritsch and Butland 1984), so that the curve never leaves the range of its ends.
        """
        from scipy.interpolate import PchipInterpolator

        curve: np.ndarray = PchipInterpolator(self.means.shares, self.values, extrapolate=False)(
            np.asarray(shares, np.float64)
        )
        return curve

    def share_for(self, part: float) -> float:
        """Return the least |A|/N at which the curve is at `part` of its value at the largest share; NaN if that is 0.

        Where even the least share is above, that share.
        """
        aim = part * float(self.values[-1])
        if self.values[-1] <= 0:
            return float("nan")
        low, high = float(self.means.shares[0]), float(self.means.shares[-1])
        if self.values[0] >= aim:
            return low
        for _ in range(50):  # bisection: the curve never falls
            middle = (low + high) / 2
            low, high = (low, middle) if float(self.at(middle)) >= aim else (middle, high)
        return high


def fit_spline(means: ShareMeans) -> Spline:
    """Fit accuracies that never fall with |A|, and test whether that is too little.

    The curve is isotonic regression with weights of 1/variance, where an accuracy's variance is the one that it has
    given those of the other shares. The misfit is the least χ² of all accuracies that never fall, with the whole
    covariance: what all shares have in common, as they do on the same images, moves the curve as a whole and is no
    misfit. Its p-value is that of the χ̄² distribution at the least favourable curve, which is flat, with equal
    variances (Robertson, Wright and Dykstra 1988, section 2.3).

    Args:
        means: Accuracies at 2 shares or more, with their covariance.

    Raises:
        DataError: There are fewer shares.
    """
    from scipy.optimize import isotonic_regression, nnls

    k = len(means.shares)
    if k < _LEAST_SHARES:
        raise DataError(f"spline: expected robust accuracies at {_LEAST_SHARES} or more shares of A, got {k}")
    variances, axes = np.linalg.eigh(means.covariance)
    variances = np.maximum(variances, 1e-12)
    weights = (axes**2 / variances).sum(1)
    values = np.asarray(isotonic_regression(means.values, weights=weights).x)
    misfit = 0.0
    if (np.diff(means.values) < 0).any():
        whiten = (axes * variances**-0.5).T
        # a start of either sign, and steps that are 0 or more
        steps = np.column_stack([-np.ones(k), np.tri(k)])
        misfit = float(nnls(whiten @ steps, whiten @ means.values)[1] ** 2)
    return Spline(means=means, values=values, misfit=misfit, p=chi_bar_p(misfit, k))


def chi_bar_p(misfit: float, k: int) -> float:
    """Return the chance that k equal, independent accuracies fall by a χ² of `misfit` or more.

    Σ_l P(l, k) P(χ²_{k-l} >= misfit), where P(l, k) = |s(l, k)|/k! is the chance that l different values are left, with
    Stirling numbers of the first kind.
    """
    from scipy.stats import chi2

    if misfit <= 0:
        return 1.0
    chances = np.array([1.0])  # of l = 1 for k = 1
    for size in range(2, k + 1):
        # value number `size` is pooled with those before it with a chance of (size - 1)/size
        chances = (np.append(chances * (size - 1), 0.0) + np.insert(chances, 0, 0.0)) / size
    left = k - np.arange(1, k + 1)
    return float((chances[:-1] * chi2.sf(misfit, left[:-1])).sum())
