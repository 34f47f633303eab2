"""What simulations of tests and intervals share: flags of arms with hard images in common, and rows of the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import attrs
import numpy as np
from scipy.stats import multivariate_normal, norm

COVERAGE = (0.93, 0.97)
"""Wanted of an interval."""
TYPE_1 = (0.04, 0.06)
"""Wanted of a test."""
IMAGES = (200, 1000, 8000)
ROBUST = (0.1, 0.4, 0.7)
HARD = 0.6
"""Correlation of the same image in different arms, before it is robust or not."""
OWN = 0.15
"""What trainings of the same arm have in common beyond that."""
TRAINING = 0.05
"""Standard deviation over seeds on the same scale: two points of robust accuracy at 40 %."""


@final
@attrs.frozen(kw_only=True)
class Row:
    """One simulated number.

    Attributes:
        function: What was simulated, in the room `statistics`.
        number: What is counted: ``coverage``, ``type-I error``, ``power``, ...
        setting: Images, accuracies, seeds.
        draws: How many data sets were drawn.
        share: In which share of them an interval had the truth, or a test found what is not there.
        wanted: Between which shares it should be.
        reason: Why it may be outside of them.
    """

    function: str
    number: str
    setting: str
    draws: int
    share: float
    wanted: tuple[float, float]
    reason: str = ""

    @property
    def held(self) -> bool:
        return self.wanted[0] <= self.share <= self.wanted[1]

    @property
    def deviation(self) -> float:
        """Standard deviation that chance gives the share."""
        return (max(self.share * (1 - self.share), 1 / self.draws) / self.draws) ** 0.5


def row(
    function: str,
    number: str,
    setting: str,
    found: Sequence[bool],
    wanted: tuple[float, float] = COVERAGE,
    reason: str = "",
) -> Row:
    """Return a row; `found` says of each draw whether an interval had the truth, or a test found something."""
    return Row(
        function=function,
        number=number,
        setting=setting,
        draws=len(found),
        share=float(np.mean(found)),
        wanted=wanted,
        reason=reason,
    )


def flags(
    rng: np.random.Generator, n: int, shares: Sequence[float], seeds: Sequence[int], training: float = TRAINING
) -> list[np.ndarray]:
    """Draw the flags of arms on the same n images, `(seeds, n)` each.

    An image is robust if a normal number stays below a threshold. The number has a part of the image, a part of image
    and arm, and one of image and training; the threshold of a training varies. With one seed for all arms, shares are
    those of these trainings: nothing varies but images.
    """
    several = max(seeds) > 1
    own = OWN if several else 0.0
    spread = training if several else 0.0
    of_image = HARD**0.5 * rng.standard_normal(n, np.float32)
    arms = []
    for share, m in zip(shares, seeds, strict=True):
        of_arm = of_image + np.float32(own**0.5) * rng.standard_normal(n, np.float32) if own else of_image
        threshold = norm.ppf(share) * (1 + spread**2) ** 0.5 - spread * rng.standard_normal((m, 1))
        number = rng.standard_normal((m, n), np.float32)
        number *= np.float32((1 - HARD - own) ** 0.5)
        number += of_arm
        arms.append(number < threshold.astype(np.float32))
    return arms


def pairs(rng: np.random.Generator, n: int, one: float, other: float, draws: int, hard: float = HARD) -> np.ndarray:
    """Draw how many images are robust in both arms, in the first, in the second only, and in none: `(draws, 4)`."""
    both = float(multivariate_normal([0, 0], [[1, hard], [hard, 1]]).cdf(norm.ppf([one, other])))
    chances = np.array([both, one - both, other - both, 1 - one - other + both])
    return rng.multinomial(n, chances, size=draws)


def spelt(counts: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return flags of two arms with these counts."""
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


def words(n: int, share: float | str, seeds: int | str = 1, more: str = "") -> str:
    """Return a setting in words."""
    robust = share if isinstance(share, str) else f"{100 * share:.0f} %"
    many = f"{seeds} seeds" if seeds != 1 else "1 seed"
    return ", ".join(filter(None, [f"{n:,} images", robust, many, more]))
