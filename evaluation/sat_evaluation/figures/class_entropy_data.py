"""Robustness that one class in A brings to B, against the difficulty of the class, as values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final

import attrs
import numpy as np

from sat_core.accuracy import Accuracy
from sat_core.agreement import rank_correlation
from sat_core.errors import DataError
from sat_core.ranking import Ranking
from sat_core.run_folder import RunFolder
from sat_evaluation.results.curves import group
from sat_evaluation.results.flags import members
from sat_evaluation.results.rows import Row


@final
@attrs.frozen(kw_only=True)
class PublishedTransfer:
    """Published pairs of class entropy (nats) and robust accuracy on B, in [0, 1], in the order of classes.

    Attributes:
        source: Where they were published, in words.
        weights: The weighting rule of all arms.
        entropy, robust_b: A number for each class in A.
    """

    source: str
    weights: str
    entropy: tuple[float, ...]
    robust_b: tuple[float, ...]

    def like(self, row: Row) -> bool:
        """Return whether the published arms weigh A and B as ours does, and keep A as it was."""
        return row.spec["weighting.rule"] == self.weights and not row.moving

    @property
    def rho(self) -> float:
        """Spearman's ρ of both."""
        return rank_correlation(np.array(self.entropy), np.array(self.robust_b))


@final
@attrs.frozen(kw_only=True)
class ClassPoint:
    """Arms with one class in A.

    Attributes:
        name: Of the class.
        difficulty: Mean over its training examples.
        accuracy: Robust accuracy on B, a mean over seeds, with its interval over test images.
        deviation: Standard deviation over the seeds, in [0, 1]; 0 of one seed.
    """

    name: str
    difficulty: float
    accuracy: Accuracy
    deviation: float


@final
@attrs.frozen(kw_only=True)
class ClassTransfer:
    """All classes that were attacked alone.

    Attributes:
        metric: Of the difficulty.
        points: A point for each class, the easiest first.
        rho: Spearman's ρ of difficulty and robust accuracy on B; NaN if one of both is the same for all.
    """

    metric: str
    points: tuple[ClassPoint, ...]
    rho: float


def difficulty_in_folder(folder: RunFolder, ranking: Ranking, metric: str) -> Callable[[Row], float]:
    """Return what averages the difficulty of an arm's A; DataError if its files are missing or damaged."""

    def mean(row: Row) -> float:
        in_a = members(folder.unit(row.arm), row.results)["in_A"]
        scores = ranking.scores[metric]
        if scores.shape != in_a.shape:
            raise DataError(f"{folder}: expected a ranking of {len(in_a)} training examples, got one of {len(scores)}")
        return float(scores[in_a].mean())

    return mean


def class_transfer(rows: Sequence[Row], difficulty: Callable[[Row], float], metric: str) -> ClassTransfer | None:
    """Pair the difficulty of the class in A with robust accuracy on B; None of fewer than three such classes.

    Args:
        rows: Arms of a study; those with a single class in A count, of the first settings.
        difficulty: Mean difficulty of the examples in A, as `difficulty_in_folder` returns it.
        metric: Its name.
    """
    points: dict[int, ClassPoint] = {}
    settings = None
    for g in group(rows):
        first = g.rows[0]
        single = {row.classes for row in g.rows if row.kind == "classes" and len(row.classes) == 1}
        if first.baseline or first.moving or first.source or len(single) != 1:
            continue
        # how the class was chosen changes nothing
        own = {key: value for key, value in first.settings.items() if not key.startswith("subset.")}
        settings = settings or own
        if own != settings:
            continue
        ((c,),) = single
        accuracy = g.part("robust_b")
        if accuracy is not None and c not in points:
            points[c] = ClassPoint(
                name=first.class_names[c],
                difficulty=difficulty(first),
                accuracy=accuracy,
                deviation=g.deviation("robust_b") or 0.0,
            )
    if len(points) < _LEAST:
        return None
    ordered = sorted(points.values(), key=lambda point: point.difficulty)
    difficulties, accuracies = (
        np.array(values)
        for values in ([point.difficulty for point in ordered], [point.accuracy.value for point in ordered])
    )
    return ClassTransfer(metric=metric, points=tuple(ordered), rho=rank_correlation(difficulties, accuracies))


_LEAST = 3
"""Classes of which a correlation says anything."""
