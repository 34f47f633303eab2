"""The fit of the law of |A| for every κ: given κ, the accuracies at both ends are linear."""

from __future__ import annotations

from math import log
from typing import final

import attrs
import numpy as np

from sat_evaluation.statistics.share_means import ShareMeans

LOWEST, HIGHEST = log(1e-4), log(1e3)
"""log κ from a curve that saturates at once to one that is straight."""
_POINTS = 101
_FAR = 40.0
"""χ² above the least at which a κ is out of the question."""


def gained(shares: np.ndarray, kappa: np.ndarray | float) -> np.ndarray:
    """Return s (1 + κ)/(s + κ): the part of the gain in robust accuracy at shares s, 0 at 0 and 1 at 1."""
    gain: np.ndarray = shares * (1 + kappa) / (shares + kappa)
    return gain


def share_of(gain: np.ndarray | float, kappa: np.ndarray | float) -> np.ndarray:
    """Return the s at which a part of the gain is reached, which is the inverse of `gained`."""
    return np.asarray(kappa * gain / (1 + kappa - gain))


@final
@attrs.frozen(eq=False)
class Profile:
    """For each log κ the least χ², r0 and r1 that give it `(κ, 2)`, and their covariance `(κ, 2, 2)`."""

    log_kappas: np.ndarray
    chi: np.ndarray
    ends: np.ndarray
    covariances: np.ndarray


def profile_at(means: ShareMeans, variances: np.ndarray, axes: np.ndarray, log_kappas: np.ndarray) -> Profile:
    """Fit the accuracies at both ends for each κ; the arguments are those of `profile_of`."""
    whiten = (axes * variances**-0.5).T
    values = whiten @ means.values
    gain = gained(means.shares, np.exp(log_kappas)[:, None])
    design = whiten @ np.stack([1 - gain, gain], -1)  # (κ, shares, 2)
    turned = design.transpose(0, 2, 1)
    covariances = np.linalg.inv(turned @ design)
    ends = (covariances @ (turned @ values)[..., None])[..., 0]
    left = values - (design @ ends[..., None])[..., 0]
    return Profile(log_kappas, (left**2).sum(1), ends, covariances)


def profile_of(means: ShareMeans, variances: np.ndarray, axes: np.ndarray) -> Profile:
    """Profile χ² over κ, on a grid that is fine where χ² is near to its least.

    Args:
        means: The accuracies.
        variances, axes: Of their covariance: eigenvalues `(k,)` > 0, and eigenvectors as columns `(k, k)`.
    """
    low, high = LOWEST, HIGHEST
    for _ in range(12):
        profile = profile_at(means, variances, axes, np.linspace(low, high, _POINTS))
        near = np.flatnonzero(profile.chi - profile.chi.min() <= _FAR)
        low, high = (float(profile.log_kappas[min(max(i, 0), _POINTS - 1)]) for i in (near[0] - 1, near[-1] + 1))
        if len(near) > _POINTS // 2:
            break
    for _ in range(3):  # the least χ² itself
        best, grid = int(profile.chi.argmin()), profile.log_kappas
        fine = np.linspace(grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)], 13)
        profile = profile_at(means, variances, axes, np.unique(np.concatenate([grid, fine])))
    return profile
