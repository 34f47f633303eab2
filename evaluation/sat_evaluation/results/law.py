"""The law of |A| for the curves of a study, and the |A| that is enough, in a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import final

import attrs
import numpy as np

from sat_core.errors import DataError
from sat_core.run_folder import RunFolder
from sat_evaluation.results.curves import Group, Series, series
from sat_evaluation.results.flags import image_flags
from sat_evaluation.results.rows import Row
from sat_evaluation.results.text import percent
from sat_evaluation.statistics.interval import Interval
from sat_evaluation.statistics.law import LEAST_SHARES, OF_FULL, Law, fit_law
from sat_evaluation.statistics.share_means import ShareMeans, binomial_means, flag_means
from sat_evaluation.statistics.spline import Spline, fit_spline

MOST = 200
"""Curves that are fitted: each takes some milliseconds, and a study may have thousands."""
MOST_NAMED = 4
"""Curves that the sentence names."""
_MOST_READ = 24
"""Curves whose flags are read, as a study may have ten thousand arms."""


@final
@attrs.frozen(kw_only=True, eq=False)
class CurveLaw:
    """The law of |A| of one curve, everything in shares in [0, 1].

    Attributes:
        arms: The curve, with both baselines.
        name: Its strategy and settings.
        law: Robust accuracy over |A|/N.
        spline: The monotone spline beside it.
        enough: |A|/N at which `OF_FULL` of full adversarial training's robust accuracy is reached, with its interval.
        paired: Whether the flags of the images were at hand. From counts alone, intervals are wider.
        of: How many curves of the study have a law, whether they were fitted or not.
    """

    arms: Series
    name: str
    law: Law
    spline: Spline
    enough: Interval
    paired: bool
    of: int = 1

    @property
    def over(self) -> str:
        """What the intervals are over, in words."""
        over = "test images and seeds" if self.law.means.over_seeds else "test images"
        return f"{over}, and the scatter around the curve" if self.law.scatter else over

    @property
    def misfit(self) -> str:
        """``χ² = 4.9 with 8 degrees of freedom, p = 0.77``."""
        law = self.law
        p = f"p = {law.p:.2g}" if law.p >= 0.001 else "p < 0.001"
        return f"χ² = {law.misfit:.1f} with {law.freedom} degree{'s' * (law.freedom > 1)} of freedom, {p}"


def curve_laws(rows: Sequence[Row], folder: RunFolder | None = None, *, most: int = MOST) -> list[CurveLaw]:
    """Return the law of each curve that has both baselines and four or more shares of A, in the order of the curves.

    Args:
        rows: Arms of a study, as `sat_evaluation.results.rows.collect` returns them.
        folder: Of the study, for the flags of the images, which the arms have in common. Without them, where they
            cannot be read, and after 24 curves, arms are taken to be independent.
        most: How many curves are fitted, the first ones; `CurveLaw.of` says how many there are.
    """
    every = [curve for curve in series(rows) if _has_law(curve)]
    laws = []
    for number, curve in enumerate(every[:most]):
        shares = [group.rows[0].share for group in curve.points]
        means = _flag_means(folder, shares, curve.points) if folder and number < _MOST_READ else None
        law = fit_law(means or _count_means(shares, curve.points))
        laws.append(
            CurveLaw(
                arms=curve,
                name=", ".join(filter(None, [curve.chosen, curve.settings])),
                law=law,
                spline=fit_spline(law.means),
                enough=law.share_for(OF_FULL),
                paired=means is not None,
                of=len(every),
            )
        )
    return laws


def _has_law(curve: Series) -> bool:
    shares = [group.rows[0].share for group in curve.points]
    # listed classes have no order; of two arms with the same |A| the curve is no function of it
    ordered = curve.strategy != "listed" and all(a < b for a, b in pairwise(shares))
    return bool(curve.plain and curve.full and ordered and len(shares) >= LEAST_SHARES)


def law_sentence(laws: Iterable[CurveLaw]) -> str:
    """Say with which |A| 95 % of full adversarial training's robust accuracy is reached; empty without a law.

    >>> law_sentence([])
    ''
    """
    every = list(laws)
    if not every:
        return ""
    named, count = every[:MOST_NAMED], max(len(every), every[0].of)
    what = "; ".join(f"{enough_words(one.enough)} ({one.name}{_doubt(one)})" for one in named)
    more = f"; {count - len(named)} more curves in the report" if count > len(named) else ""
    return f"{percent(OF_FULL)} of full AT's robust accuracy is reached with |A| = {what}{more}."


def enough_words(enough: Interval) -> str:
    """Return ``34 % [22, 61]``, or in words that nothing is known of it.

    >>> enough_words(Interval(0.34, 0.22, 0.61)), enough_words(Interval(0.004, 0.0, 0.012))
    ('34 % [22, 61]', '0.4 % [0.0, 1.2]')
    """
    if not enough.value >= 0:  # NaN: full AT is never robust
        return "unknown"
    digits = 1 if 0 < enough.high < 0.02 else 0
    low, high = (f"{100 * end:.{digits}f}" for end in (enough.low, enough.high))
    return f"{100 * enough.value:.{digits}f} % [{low}, {high}]"


def _doubt(one: CurveLaw) -> str:
    return "" if one.law.fits else f"; the law does not fit: {one.misfit}"


def _flag_means(folder: RunFolder, shares: Sequence[float], points: Iterable[Group]) -> ShareMeans | None:
    """Means of flags; None unless all arms have flags of the same images in the same order."""
    arms, images = [], None
    try:
        for group in points:
            tables = []
            for row in group.rows:
                flags = image_flags(folder.unit(row.arm), row.results)
                if images is not None and not np.array_equal(images, flags.image):
                    return None
                images = flags.image
                tables.append(flags.robust)
            arms.append(np.stack(tables))
        return flag_means(shares, arms)
    except DataError:  # a damaged file, or a single image; whoever reads the images says so
        return None


def _count_means(shares: Sequence[float], points: Iterable[Group]) -> ShareMeans:
    counts = [[row.robust.count for row in group.rows] for group in points]
    return binomial_means(shares, counts, [group.rows[0].n for group in points])
