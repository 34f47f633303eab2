"""Variances of mean accuracies over images and over seeds, which are two causes of chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import attrs
import numpy as np

from sat_core.errors import DataError
from sat_evaluation.statistics.checks import same_images, seeds_and_images
from sat_evaluation.statistics.interval import Interval
from sat_evaluation.statistics.mcnemar import LEVEL, POWER

_ENOUGH = 2
"""Degrees of freedom between seeds that are needed to stand for an arm with one seed."""


@final
@attrs.frozen(kw_only=True, eq=False)
class Means:
    """Mean accuracies of k arms over images and seeds, and what they vary with.

    Images are a sample of all images, and the same for every arm and seed; seeds are a sample of all trainings, and
    each arm has its own: crossed random effects. An arm's mean over seeds varies with both.

    Attributes:
        values: The means, `(k,)`.
        n: Images.
        seeds: Trainings of each arm.
        images: Covariance of the means over images, `(k, k)`. One image of each kind, in one training, is added to the
            discordant pairs, as Bonett and Price (2012) do, so that arms which agree on every image still have a
            variance.
        trainings: Variance of each mean over seeds, `(k,)`; 0 if no arm has more than one, or one arm has two seeds
            and others have one, which is too little to go by.
        shared: Part of both, which is in `images` once too often, `(k,)`: the interaction of images and seeds. Less of
            it where a pooled variance is too small to be likely.
        freedom: Degrees of freedom of `trainings`, `(k,)`; 0 where it was not estimated.
        pooled: Whether `trainings` is of one variance: of matched seeds, or where an arm has one seed, which is taken
            to vary as the others do, if these have three seeds or more.
    """

    values: np.ndarray
    n: int
    seeds: tuple[int, ...]
    images: np.ndarray
    trainings: np.ndarray
    shared: np.ndarray
    freedom: np.ndarray
    pooled: bool

    @property
    def over_seeds(self) -> bool:
        """Whether the variances are over seeds, too, and not over the images alone."""
        return bool(self.freedom.any())

    def value(self, contrast: Sequence[float]) -> float:
        """Return the sum of the means, each times its number in `contrast`."""
        return float(np.asarray(contrast) @ self.values)

    def covariance(self, one: Sequence[float], other: Sequence[float]) -> float:
        """Return the covariance of two contrasts; of one with itself, its variance."""
        a, b = np.asarray(one), np.asarray(other)
        of_images = float(a @ (self.images - np.diag(self.shared)) @ b)
        if a is b or np.array_equal(a, b):
            # a difference of estimates may be below 0; what was added of images is never taken off
            of_images = max(of_images, float(a**2 @ _added(self.seeds, self.n)))
        return of_images + float(a * b @ self.trainings)

    def degrees(self, contrast: Sequence[float]) -> float:
        """Return the degrees of freedom of a contrast's variance (Satterthwaite 1946; Hillis 2007 for crossed effects).

        Of images alone, n - 1. With seeds between the least number of seeds minus 1 and that: few where the trainings
        decide, many where the images do. A pooled variance counts twice here. It is known from few seeds, and where it
        comes out too small by chance, the images would seem to decide.
        """
        parts = np.asarray(contrast) ** 2 * self.trainings
        seeds = float(parts.sum())
        images = max(0.0, self.covariance(contrast, contrast) - seeds)
        squares = images**2 / max(1, self.n - 1)
        if self.pooled:
            seeds *= 2
            squares += seeds**2 / float(self.freedom[0])
        else:
            known = self.freedom > 0
            squares += float((parts[known] ** 2 / self.freedom[known]).sum())
        return max(1.0, (images + seeds) ** 2 / squares) if squares > 0 else float(max(1, self.n - 1))

    def interval(self, contrast: Sequence[float]) -> Interval:
        """Return a contrast with its 95 % interval by Student's t."""
        value, half = self.value(contrast), self._quantile(contrast, 0.975) * self._deviation(contrast)
        return Interval(value, value - half, value + half)

    def p(self, contrast: Sequence[float]) -> float:
        """Return the two-sided p-value of a contrast that is 0, by Student's t."""
        from scipy.special import stdtr

        return float(2 * stdtr(self.degrees(contrast), -abs(self.value(contrast)) / self._deviation(contrast)))

    def visible(self, contrast: Sequence[float], power: float = POWER, level: float = LEVEL) -> float:
        """Return the smallest value of a contrast that is found, p < `level`, with a chance of `power`."""
        quantiles = self._quantile(contrast, 1 - level / 2) + self._quantile(contrast, power)
        return quantiles * self._deviation(contrast)

    def overall(self) -> tuple[float, float, float, float]:
        """Test whether all arms have the same mean: F, its two degrees of freedom, and the p-value.

        The variance between the arms' means over what images and seeds make of it, which is half of the mean variance
        of a difference of two arms. With one seed each it is close to Cochran's Q, divided by k - 1. How much few seeds
        count in the degrees of freedom was chosen by simulation (docs/statistics.md): the type-I error is 4 to 6 %
        there, and 3 to 7 % where trainings vary not at all or three times as much.

        Raises:
            DataError: There is one arm only.
        """
        from scipy.special import fdtrc

        k = len(self.values)
        if k < 2:
            raise DataError("means: expected at least two arms to compare, got 1")
        within = self.images - np.diag(self.shared)
        of_images = float(np.trace(within) - (within.sum() - np.trace(within)) / (k - 1)) / k
        of_images = max(of_images, float(_added(self.seeds, self.n).mean()))
        of_seeds = float(self.trainings.mean())
        squares = of_images**2 / ((k - 1) * max(1, self.n - 1))
        variance, doubt = of_images + of_seeds, 1.0
        if self.pooled:
            doubt = max(1.0, 8 / float(self.freedom[0]))
            squares += (doubt * of_seeds) ** 2 / float(self.freedom[0])
        elif self.over_seeds:
            squares += float((self.trainings**2 / (self.freedom + 1)).sum()) / k**2
        degrees = max(1.0, (of_images + doubt * of_seeds) ** 2 / squares)
        statistic = float(self.values.var(ddof=1)) / variance
        return statistic, k - 1.0, degrees, float(fdtrc(k - 1, degrees, statistic))

    def _deviation(self, contrast: Sequence[float]) -> float:
        return self.covariance(contrast, contrast) ** 0.5

    def _quantile(self, contrast: Sequence[float], share: float) -> float:
        from scipy.special import stdtrit

        return float(stdtrit(self.degrees(contrast), share))


def means(arms: Sequence[object], *, matched: bool = False) -> Means:
    """Return the means of arms on the same images, and their variances over images and seeds.

    Over seeds, the variance of an arm's mean is s²/m, with the variance s² of the m means of its seeds; that contains
    the interaction of seeds and images, and so does the variance over images, from which it is taken off once.

    Args:
        arms: Flags of each arm, `(seeds, n)` or, of one training, `(n,)`; n >= 2.
        matched: Whether seeds of the same place belong together, as where arms begin with the same weights; then the
            variance is that of the differences, for two arms with equally many seeds. Without a reason, independent
            seeds are the better choice: they have twice the degrees of freedom.

    Raises:
        DataError: They are not flags of the same images, or cannot be matched.
    """
    tables = [seeds_and_images("means", arm) for arm in arms]
    if not tables:
        raise DataError("means: expected at least one arm, got none")
    n, seeds = same_images("means", tables), tuple(len(table) for table in tables)
    if n < 2:
        raise DataError("means: expected at least 2 images, got 1")
    if matched:
        if len(tables) != 2 or seeds[0] != seeds[1]:
            raise DataError(f"means: expected two arms with equally many seeds to match them, got {seeds} seeds")
        return _matched(*tables)
    rows = np.stack([table.mean(0) for table in tables])
    counts = np.array(seeds)
    freedom = counts - 1
    if not freedom.all() and freedom.sum() < _ENOUGH:
        freedom = np.zeros_like(counts)
    pooled = bool(freedom.any() and not freedom.all())
    between = np.array([table.mean(1).var(ddof=1) if f else 0.0 for table, f in zip(tables, freedom, strict=True)])
    within = np.array([_interaction(table) if f else 0.0 for table, f in zip(tables, freedom, strict=True)])
    lacking = np.zeros(len(tables))
    if pooled:
        between, within = (np.full(len(tables), (s * freedom).sum() / freedom.sum()) for s in (between, within))
        freedom = np.full(len(tables), freedom.sum())
        # One estimate from few seeds stands for all arms. The interaction alone makes within / n of it. Where chance
        # makes it less than a quarter of that, intervals would be too narrow, so what is lacking stays with the images.
        lacking = np.maximum(0.0, within / n / 4 - between)
    return Means(
        values=rows.mean(1),
        n=n,
        seeds=seeds,
        images=np.atleast_2d(np.cov(rows)) / n + np.diag(_added(seeds, n)),
        trainings=between / counts,
        shared=(within / n - lacking) / counts,
        freedom=freedom,
        pooled=pooled,
    )


def _added(seeds: Sequence[int], n: int) -> np.ndarray:
    """Variance that one image, in one of its trainings, adds to the mean of each arm, `(k,)`."""
    return 1 / np.array(seeds) / n**2


def _interaction(table: np.ndarray) -> float:
    """Variance of flags that neither image nor seed explains; 0 of one seed."""
    m, n = table.shape
    if m < 2:
        return 0.0
    left = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    return float((left**2).sum() / ((m - 1) * (n - 1)))


def _matched(one: np.ndarray, other: np.ndarray) -> Means:
    """The difference of matched seeds, as an arm of its own; the second arm is a constant 0 and has no variance."""
    difference = one - other
    m, n = difference.shape
    of_image = difference.mean(0)
    images, trainings, shared, freedom = np.zeros((2, 2)), np.zeros(2), np.zeros(2), np.zeros(2, int)
    images[0, 0] = of_image.var(ddof=1) / n + _added((m, m), n).sum()
    if m > 1:
        trainings[0], shared[0] = difference.mean(1).var(ddof=1) / m, _interaction(difference) / m / n
        freedom[:] = m - 1
    return Means(
        values=np.array([one.mean(), other.mean()]),
        n=n,
        seeds=(m, m),
        images=images,
        trainings=trainings,
        shared=shared,
        freedom=freedom,
        pooled=m > 1,
    )
