"""How much of what full adversarial training gains an A of some size recovers: published and own curves over |A|."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import final

import attrs
import numpy as np

from sat_core.errors import DataError, SpecError, quoted

LEVEL = 0.95
"""How likely the recovery of a new training is inside of its interval."""
CEILING = 1.1
"""Upper end of every interval: no published arm recovers more than 1.06."""


@final
@attrs.frozen(kw_only=True)
class RecoveryCurve:
    """Robust accuracy over |A|/N of one series of trainings, as a share of what full AT gains.

    The recovery of an arm with robust accuracy r is ρ = (r - r(0)) / (r(1) - r(0)): 0 for plain training, 1 for full
    AT. It may be above 1.

    Attributes:
        name: Of the data set, of a transfer ``source → target``.
        source: Where its numbers are from, in words.
        shares: |A|/N of the arms, ascending, inside (0, 1).
        robust: Their robust accuracies in [0, 1].
        plain: That of plain training, r(0).
        full: That of full AT, r(1), above `plain`.
        errors: Standard error of each recovery, from test images, seeds and, where these differ, networks.
        closed: Whether it ends in full AT. Single-step arms do not: `full` has been trained with another attack.
        own: Whether it is of a run of the user's.
    """

    name: str
    source: str = ""
    shares: tuple[float, ...]
    robust: tuple[float, ...]
    plain: float = 0.0
    full: float
    errors: tuple[float, ...]
    closed: bool = True
    own: bool = False

    def __attrs_post_init__(self) -> None:
        inside = self.shares and self.shares[0] > 0 and self.shares[-1] < 1
        if not inside or any(b <= a for a, b in zip(self.shares, self.shares[1:], strict=False)):
            raise DataError(f"{self.name}: expected ascending |A|/N inside (0, 1), got {quoted(self.shares)}")
        if not len(self.shares) == len(self.robust) == len(self.errors):
            raise DataError(f"{self.name}: expected as many accuracies and errors as |A|, got other numbers of them")
        if not self.full > self.plain:
            raise DataError(
                f"{self.name}: robust accuracy is {100 * self.full:.1f} % with full AT and {100 * self.plain:.1f} % "
                "without, so that there is nothing to recover"
            )

    @property
    def recovered(self) -> tuple[float, ...]:
        """ρ at each of `shares`."""
        return tuple((robust - self.plain) / (self.full - self.plain) for robust in self.robust)

    def at(self, share: float) -> float:
        """Return ρ at |A|/N = `share` in [0, 1].

        Exact at the arms, monotone between two neighbours (piecewise cubic; Fritsch & Carlson 1980). Beyond the last
        arm of a curve that is not `closed`, it stays as it is there.
        """
        return float(_interpolator(self)(min(share, 1.0 if self.closed else self.shares[-1])))

    def error_at(self, share: float) -> float:
        """Return the standard error of `at`, linear between arms."""
        return float(np.interp(share, self.shares, self.errors))

    def reaches(self, share: float) -> bool:
        """Whether |A|/N = `share` is where the curve has arms, so that `at` interpolates between measurements."""
        return self.shares[0] <= share <= (1.0 if self.closed else self.shares[-1])


@final
@attrs.frozen(kw_only=True)
class Recovery:
    """The recovery that is expected of an arm.

    Attributes:
        share: |A|/N.
        value: Expected ρ, see `RecoveryCurve`.
        low, high: 95 % prediction interval for one new study, in [0, `CEILING`]; None where a single curve of another
            data set is all there is, which says nothing of how data sets differ.
        extrapolated: Whether |A| is smaller, or larger, than that of all arms that are known.
    """

    share: float
    value: float
    low: float | None
    high: float | None
    extrapolated: bool


@final
@attrs.frozen(kw_only=True)
class Evidence:
    """The curves that the recovery of a study is expected from.

    Attributes:
        others: Curves of other data sets, which differ from the planned one as they differ among themselves.
        same: Curves of the planned data set under its threat model, published or own.
        notes: What a reader has to know of them, in sentences.
    """

    others: tuple[RecoveryCurve, ...]
    same: tuple[RecoveryCurve, ...] = ()
    notes: tuple[str, ...] = ()

    def __attrs_post_init__(self) -> None:
        if not self.others and not self.same:
            raise DataError("recovery: expected at least one curve over |A|, got none")

    @property
    def curves(self) -> tuple[RecoveryCurve, ...]:
        """All of them, those of the planned data set first."""
        return (*self.same, *self.others)

    def at(self, share: float) -> Recovery:
        """Return what is expected at |A|/N = `share`.

        Of n other data sets: their mean, and the prediction interval t(n - 1) · s · sqrt(1 + 1/n) for a new one, with
        s the largest standard deviation between them at this |A| or a larger one: the smaller A, the more data sets
        differ. Every curve of the planned data set is a measurement of it with a normal error. Both together are the
        posterior of Bayes' rule, with that t distribution as the prior; the new training has an error, too, which is
        that of the most precise curve. Outside of all arms the interval is what those at the edge allow.

        Raises:
            SpecError: `share` is not in [0, 1].
        """
        if not 0 <= share <= 1:
            raise SpecError(f"|A|/N: expected a share in [0, 1], got {share!r}")
        if share in (0, 1):  # the baselines, by definition
            return Recovery(share=share, value=share, low=share, high=share, extrapolated=False)
        value, low, high = self._predicted(share)
        if low is None or high is None:
            return Recovery(share=share, value=value, low=None, high=None, extrapolated=self._outside(share))
        low, high = max(low, 0.0), min(high, CEILING)
        if self._outside(share):
            # All that is known: a smaller A recovers no more than the smallest of the curves, a larger one no less.
            first, last = min(c.shares[0] for c in self.curves), max(c.shares[-1] for c in self.curves)
            edge = self.at(first if share < first else last)
            low, high = (0.0, edge.high or CEILING) if share < first else (edge.low or 0.0, CEILING)
        low, high = min(low, value), max(high, value)
        return Recovery(share=share, value=value, low=low, high=high, extrapolated=self._outside(share))

    @property
    def elsewhere(self) -> Evidence | None:
        """The curves of other data sets alone; None if there are none."""
        return attrs.evolve(self, same=()) if self.others else None

    def _outside(self, share: float) -> bool:
        return not any(curve.reaches(share) for curve in self.curves)

    def _predicted(self, share: float) -> tuple[float, float | None, float | None]:
        """Expected recovery and the ends of its interval, which are None where they are not known."""
        measured = [(curve.at(share), max(curve.error_at(share), _LEAST)) for curve in self.same]
        n, mean = len(self.others), float(np.mean([curve.at(share) for curve in self.others] or [0.0]))
        if n < 2 and not measured:  # how much data sets differ is not known
            return mean, None, None
        if not measured:
            half = _student(n - 1) * self._scale(share)
            return mean, mean - half, mean + half
        values, errors = np.transpose(measured)
        weights = errors**-2.0
        own, error, of_new = float(weights @ values / weights.sum()), float(weights.sum() ** -0.5), float(errors.min())
        if n < 2:
            half = _NORMAL * (error**2 + of_new**2) ** 0.5
            return own, own - half, own + half
        log = -n / 2 * np.log1p(((_GRID - mean) / self._scale(share)) ** 2 / (n - 1))
        log -= ((_GRID - own) / error) ** 2 / 2
        posterior = np.exp(log - log.max())
        steps = np.arange(-len(_GRID) // 2, len(_GRID) // 2) * (_GRID[1] - _GRID[0])
        noise = np.exp(-((steps / of_new) ** 2) / 2)
        noise = noise[noise > 1e-9]
        predicted = np.convolve(posterior, noise, "same")
        predicted /= predicted.sum()
        below, tail = predicted.cumsum(), (1 - LEVEL) / 2
        low, high = (float(_GRID[min(int(np.searchsorted(below, q)), len(_GRID) - 1)]) for q in (tail, 1 - tail))
        return float(posterior @ _GRID / posterior.sum()), low, high

    def _scale(self, share: float) -> float:
        """Of the t distribution of a new data set."""
        larger = {share} | {each for curve in self.others for each in curve.shares if each > share}
        spread = max(float(np.std([curve.at(each) for curve in self.others], ddof=1)) for each in larger)
        return float(max(spread, _LEAST) * np.sqrt(1 + 1 / len(self.others)))

    def smallest(self, recovery: float, shares: Sequence[float]) -> float | None:
        """Return the smallest of ascending `shares` whose expected recovery is at least `recovery`; None if none."""
        return next((share for share in shares if self.at(share).value >= recovery), None)


_NORMAL = 1.959963984540054
"""Of a normal distribution, as `_student` of infinitely many degrees of freedom."""
_LEAST = 0.005
"""Standard errors and deviations are not below this: curves that are equal by chance make nothing certain."""
_GRID = np.linspace(-1.0, 2.5, 3501)
"""Recoveries at which posteriors are computed."""


@lru_cache(maxsize=256)
def _interpolator(curve: RecoveryCurve) -> Callable[[float], np.ndarray]:
    from scipy.interpolate import PchipInterpolator

    end = (1.0,) if curve.closed else ()
    # A rise of less than 1e-12 divides by next to nothing in there, and overflows.
    recovered = np.round((0.0, *curve.recovered, *end), 12)
    made: Callable[[float], np.ndarray] = PchipInterpolator((0.0, *curve.shares, *end), recovered)
    return made


@lru_cache(maxsize=16)
def _student(degrees: int) -> float:
    """Return the two-sided 95 % quantile of Student's t distribution."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + LEVEL) / 2))
