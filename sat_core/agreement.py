"""How far scores of difficulty agree: rank correlations, and how many of the hardest examples they share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import attrs
import numpy as np

from sat_core.display import data_frame, html_table
from sat_core.splits import count

SHARES = (0.1, 0.3, 0.5)
"""Shares of the training set whose hardest examples are compared."""


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return Spearman's ρ of two arrays `(n,)`, in [-1, 1]; NaN if one of them is constant. Ties share their mean rank.

    >>> round(rank_correlation(np.array([1.0, 2.0, 2.0, 9.0]), np.array([4, 3, 2, 1])), 4)
    -0.9487
    """
    return float(_correlations(np.stack([_ranks(a), _ranks(b)]))[0, 1])


def _correlations(ranks: np.ndarray) -> np.ndarray:
    """Correlations of the rows, NaN with a constant one."""
    size = np.linalg.norm(ranks, axis=1)
    sizes = np.outer(size, size)
    return np.divide(ranks @ ranks.T, sizes, out=np.full_like(sizes, np.nan), where=sizes > 0)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Mean ranks, centred at 0."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place] - (len(values) + 1) / 2


def shown_rho(rho: float) -> str:
    """Format Spearman's ρ; – where a score is constant, and has none.

    >>> shown_rho(-0.5), shown_rho(np.nan)
    ('-0.50', '–')
    """
    return "–" if np.isnan(rho) else f"{rho:.2f}"


def _hardest(values: np.ndarray, number: int) -> np.ndarray:
    """Return for each example the chance that it is among the `number` hardest, if ties are broken at random."""
    if number == 0:
        return np.zeros(len(values))
    least = np.partition(values, -number)[-number]
    above, tied = values > least, values == least
    return above + tied * (number - above.sum()) / tied.sum()


@final
@attrs.frozen(kw_only=True, eq=False, repr=False)
class Agreement:
    """Agreement of every two of m scores.

    Attributes:
        metrics: Their names.
        rho: Spearman's ρ, `(m, m)`, in [-1, 1]; NaN with a score that is the same for all examples.
        overlap: Share of the hardest examples of one that are among as many hardest of the other, `(m, m)` for each
            share of the training set in `SHARES`. Two unrelated scores overlap by that share. Where equal scores leave
            it open who is among the hardest, it is the mean over all choices; so a score with many ties overlaps with
            itself by less than 1.
    """

    metrics: tuple[str, ...]
    rho: np.ndarray
    overlap: dict[float, np.ndarray]

    @classmethod
    def of(cls, scores: Mapping[str, np.ndarray]) -> Agreement:
        """Compare scores `(N,)` by metric; higher is harder."""
        n, overlap = len(next(iter(scores.values()), ())), {}
        for share in SHARES:
            number = count(share, n)
            hardest = np.array([_hardest(values, number) for values in scores.values()]).reshape(-1, n)
            overlap[share] = hardest @ hardest.T / max(1, number)
        rho = np.clip(_correlations(np.array([_ranks(values) for values in scores.values()]).reshape(-1, n)), -1, 1)
        return cls(metrics=tuple(scores), rho=rho, overlap=overlap)

    def rows(self, metric: str) -> list[tuple[str, float, tuple[float, ...]]]:
        """Return the agreement of each other metric with `metric`: name, ρ, and the overlap for each of `SHARES`."""
        at = self.metrics.index(metric)
        others = [number for number in range(len(self.metrics)) if number != at]
        overlap = [self.overlap[share][at] for share in SHARES]
        return [(self.metrics[i], float(self.rho[at, i]), tuple(float(o[i]) for o in overlap)) for i in others]

    def to_pandas(self) -> Any:
        """Return a `pandas.DataFrame` with one row per pair of metrics; see `data_frame`."""
        first, second = np.triu_indices(len(self.metrics), 1)
        columns = {
            "metric": [self.metrics[i] for i in first],
            "other": [self.metrics[i] for i in second],
            "rho": self.rho[first, second].tolist(),
        }
        overlaps = {f"overlap_{share:.0%}": self.overlap[share][first, second].tolist() for share in SHARES}
        return data_frame(columns | overlaps)

    def __str__(self) -> str:
        """Return ρ of every two metrics, once, as a table of text, whose columns have the numbers of the rows."""
        width = max(map(len, self.metrics), default=0) + 4
        lines = [" " * width + "".join(f"{number:>6}" for number in range(1, len(self.metrics)))]
        for number, (name, row) in enumerate(zip(self.metrics, self.rho, strict=True), 1):
            shown = "".join(f"{shown_rho(value):>6}" for value in row[: number - 1])
            lines.append((f"{number:>2}  {name}".ljust(width) + shown).rstrip())
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"Agreement({', '.join(self.metrics)})"

    def _repr_html_(self) -> str:
        rows = [(name, *map(shown_rho, row)) for name, row in zip(self.metrics, self.rho, strict=True)]
        return html_table("Spearman's ρ of scores", ("", *self.metrics), rows)
