"""The law of |A|: robust accuracy as a saturating curve over the share of attacked examples, with its uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import final

import attrs
import numpy as np

from sat_core.errors import DataError
from sat_evaluation.statistics.interval import Interval
from sat_evaluation.statistics.profile import HIGHEST, LOWEST, gained, profile_at, profile_of, share_of
from sat_evaluation.statistics.share_means import ShareMeans

LEAST_SHARES = 4
"""A curve with three parameters needs one point more to be wrong."""
OF_FULL = 0.95
"""Part of full adversarial training's robust accuracy whose |A| is asked for."""
_DOUBT = 0.05
"""Level below which the law does not fit."""
_MANY = 1e9
"""Degrees of freedom that are as good as infinite, which scipy's F distribution does not take."""


@final
@attrs.frozen(kw_only=True, eq=False)
class Law:
    """r(s) = r0 + (r1 - r0) s (1 + κ)/(s + κ), fitted to robust accuracies over s = |A|/N.

    r0 and r1 are the robust accuracies of plain and of full adversarial training. The gain per example falls with s:
    at s = κ/(1 + 2κ) half of it is reached.

    Attributes:
        means: What it was fitted to.
        plain, full: r0 and r1.
        kappa: κ > 0; small where few examples bring most.
        misfit: χ² of the residuals, with the covariance of `means` alone.
        freedom: Degrees of freedom of that χ²: shares minus 3.
        p: Chance of such a misfit or a larger one if the law holds, from the F distribution: the covariance is an
            estimate, too.
        scatter: Standard deviation of the accuracies around the curve beyond that of `means`: other trainings and
            what the law lacks. It is part of all intervals. 0 where χ² is not above its degrees of freedom, and with
            several seeds where the law fits.
        degrees: Degrees of freedom of Student's t that the intervals use.
    """

    means: ShareMeans
    plain: float
    full: float
    kappa: float
    misfit: float
    freedom: int
    p: float
    scatter: float
    degrees: float
    _log_kappas: np.ndarray = attrs.field(repr=False)
    _above: np.ndarray = attrs.field(repr=False)
    _ends: np.ndarray = attrs.field(repr=False)
    _covariances: np.ndarray = attrs.field(repr=False)

    def at(self, shares: object) -> np.ndarray:
        """Return the robust accuracy at shares of A, in [0, 1]."""
        gain = gained(np.asarray(shares, np.float64), self.kappa)
        curve: np.ndarray = self.plain + (self.full - self.plain) * gain
        return curve

    def band(self, shares: object) -> tuple[np.ndarray, np.ndarray]:
        """Return the ends of the 95 % interval of the accuracy at each share by itself, within [0, 1].

        They are the profile likelihood's: the lowest and highest r for which some κ gives a χ² that is above the least
        by no more than t².
        """
        s = np.asarray(shares, np.float64)
        near = self._above <= self._limit
        gain = gained(s[..., None], np.exp(self._log_kappas[near]))
        weights = np.stack([1 - gain, gain], -1)
        values = (weights * self._ends[near]).sum(-1)
        variances = np.einsum("...i,...ij,...j->...", weights, self._covariances[near], weights)
        half = np.sqrt((self._limit - self._above[near]) * variances)
        curve = self.at(s)
        low, high = np.minimum((values - half).min(-1), curve), np.maximum((values + half).max(-1), curve)
        return np.clip(low, 0, 1), np.clip(high, 0, 1)

    def share_for(self, part: float = OF_FULL) -> Interval:
        """Return the |A|/N at which a part of full adversarial training's robust accuracy is reached.

        That is r(s) = part * r1, with r1 as fitted. The interval is all s for which the profile likelihood allows this;
        its low end is 0 where plain training may reach it already, its high end 1 where nothing is known.

        Args:
            part: In (0, 1).

        Raises:
            DataError: `part` is not in (0, 1).
        """
        if not 0 < part < 1:
            raise DataError(f"law: expected a part of full AT's accuracy in (0, 1), got {part}")
        value = _reached(self.plain, self.full, self.kappa, part)
        if np.isnan(value):
            return Interval(value, 0.0, 1.0)
        near = self._above <= self._limit
        gains = _gains(self._ends[near], self._covariances[near], part, self._limit - self._above[near])
        low, high = share_of(np.clip(gains, 0, 1), np.exp(self._log_kappas[near]))
        return Interval(value, min(float(low.min()), value), max(float(high.max()), value))

    @property
    def _limit(self) -> float:
        from scipy.stats import t

        return float(t.ppf(0.975, self.degrees)) ** 2

    @property
    def fits(self) -> bool:
        """Whether the misfit may be chance, at a level of 5 %."""
        return self.p >= _DOUBT


def fit_law(means: ShareMeans) -> Law:
    """Fit the law by generalised least squares.

    For each κ on a grid, r0 and r1 are linear; the grid is made finer around the least χ². Where χ² is above its
    degrees of freedom, the same variance is added to every accuracy until it is not (Paule and Mandel 1982); with
    several seeds only where the law does not fit.

    Args:
        means: Accuracies at 4 shares or more, with their covariance.

    Raises:
        DataError: There are fewer shares.

    >>> from sat_evaluation.statistics.share_means import binomial_means
    >>> law = fit_law(binomial_means([0, 0.1, 0.3, 0.5, 1], [0, 2084, 2481, 2647, 2780], [10000] * 5))
    >>> print(f"{law.kappa:.2f}, {law.share_for(0.95).value:.2f}")
    0.04, 0.41
    """
    from scipy.stats import f

    if len(means.shares) < LEAST_SHARES:
        raise DataError(
            f"law: expected robust accuracies at {LEAST_SHARES} or more shares of A, got {len(means.shares)}; "
            "run more values of subset.size"
        )
    variances, axes = np.linalg.eigh(means.covariance)
    # of a covariance from few images, rounding may leave a variance below 0
    variances = np.maximum(variances, 1e-12)
    freedom = len(means.shares) - 3
    profile = profile_of(means, variances, axes)
    misfit, scatter = float(profile.chi.min()), 0.0
    # of many degrees of freedom, that of the χ² distribution
    p = float(f.sf(misfit / freedom, freedom, min(means.degrees, _MANY)))
    # of one seed, the scatter is all that is seen of other trainings; of several, they are in the covariance already
    if misfit > freedom and (p < _DOUBT or not means.over_seeds):
        low, high = 0.0, float(np.var(means.values)) + float(variances.max())
        for _ in range(24):  # bisection: χ² falls with the scatter
            middle = (low + high) / 2
            above = profile_at(means, variances + middle, axes, profile.log_kappas).chi.min() > freedom
            low, high = (middle, high) if above else (low, middle)
        scatter = high
        profile = profile_of(means, variances + scatter, axes)
    best = int(profile.chi.argmin())
    known = float(np.trace(means.covariance))
    total = known + scatter * len(means.shares)
    squares = known**2 / means.degrees + (scatter * len(means.shares)) ** 2 / freedom
    return Law(
        means=means,
        plain=float(profile.ends[best, 0]),
        full=float(profile.ends[best, 1]),
        kappa=float(np.exp(profile.log_kappas[best])),
        misfit=misfit,
        freedom=freedom,
        p=p,
        scatter=scatter**0.5,
        degrees=total**2 / squares if squares > 0 else inf,
        log_kappas=profile.log_kappas,
        above=profile.chi - profile.chi[best],
        ends=profile.ends,
        covariances=profile.covariances,
    )


def _reached(plain: float, full: float, kappa: float, part: float) -> float:
    """The s at which r(s) = part * r1; 0 if plain training reaches that, NaN if full AT reaches nothing."""
    if full <= 0:
        return float("nan")
    if plain >= part * full:
        return 0.0
    return float(share_of((part * full - plain) / (full - plain), kappa))


def _gains(ends: np.ndarray, covariances: np.ndarray, part: float, squares: np.ndarray) -> np.ndarray:
    """Lowest and highest gains g with |r0 + g (r1 - r0) - part * r1| within √square deviations (Fieller 1954).

    Returns:
        `(2, κ)` for `ends` `(κ, 2)`; 0 and 1 where plain training may be as robust as full adversarial training.
    """
    one, slope = np.array([1.0, -part]), np.array([-1.0, 1.0])
    start, rise = ends @ one, ends @ slope
    a = rise**2 - squares * (covariances @ slope @ slope)
    b = start * rise - squares * (covariances @ slope @ one)
    c = start**2 - squares * (covariances @ one @ one)
    root = np.sqrt(np.maximum(0.0, b * b - a * c))
    known = a > 0
    a = np.where(known, a, 1.0)
    return np.stack([np.where(known, (-b - root) / a, 0.0), np.where(known, (-b + root) / a, 1.0)])


def bootstrap_share_for(
    shares: Sequence[float],
    arms: Sequence[object],
    rng: np.random.Generator,
    *,
    part: float = OF_FULL,
    draws: int = 2000,
) -> Interval:
    """Return `Law.share_for` with a paired bootstrap's interval, to compare; it says nothing of other trainings.

    Args:
        shares: |A|/N of each arm, ascending, 4 or more.
        arms: Flags of each arm on the same images, `(n,)` or `(seeds, n)`.
        rng: Draws the images.
        part: In (0, 1).
        draws: Number of draws, >= 100.

    Raises:
        DataError: There are fewer shares, or `arms` are not flags of the same images.
    """
    from sat_evaluation.statistics.bootstrap import bootstrap
    from sat_evaluation.statistics.share_means import flag_means

    means = flag_means(shares, arms)
    fit_law(means)  # refuses what has no law
    variances, axes = np.linalg.eigh(means.covariance)
    weights = axes * np.maximum(variances, 1e-12) ** -0.5  # (shares, axes)
    kappas = np.exp(np.linspace(LOWEST, HIGHEST, 202))
    gain = gained(means.shares, kappas[:, None])
    design = np.einsum("kse,sa->kae", np.stack([1 - gain, gain], -1), weights)
    solve = np.linalg.pinv(design)  # (κ, 2, axes)

    def statistic(accuracy: np.ndarray) -> np.ndarray:
        values = accuracy @ weights
        ends = np.einsum("kea,da->dke", solve, values)
        # |y|² - |projection|²: never (draws, κ, shares) at once
        along = np.einsum("kef,dke,dkf->dk", np.einsum("kae,kaf->kef", design, design), ends, ends)
        best = along.argmax(1)
        chosen = ends[np.arange(len(ends)), best]
        reached = [
            _reached(float(r0), float(r1), float(k), part) for (r0, r1), k in zip(chosen, kappas[best], strict=True)
        ]
        return np.array(reached)

    return bootstrap(arms, statistic, rng, draws=draws)
