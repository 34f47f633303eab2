"""Accuracy and difficulty by class as values: matplotlib and the HTML report draw the same cells and bars."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import final

import attrs
import numpy as np

from sat_core.accuracy import Accuracy
from sat_core.ranking import Ranking
from sat_evaluation.results.baseline import Baseline
from sat_evaluation.results.curves import Group, Series, mean_accuracy, series
from sat_evaluation.results.rows import Row
from sat_evaluation.results.text import percent, shown

SMALL = 50
"""Test images of a class below which its accuracy is marked: half of its 95 % interval is up to 14 points wide."""

_MOST_LISTED = 10
"""Names of classes in a line."""


@final
@attrs.frozen(kw_only=True)
class PublishedClasses:
    """Published accuracies, in [0, 1], of arms that attack one class each, in the order of classes.

    Attributes:
        source: Where `clean`, `robust_a` and `robust_b` were published, in words.
        matrix_source: Where `matrix` and `full` were.
        weights: The weighting rule of all arms.
        clean: Clean accuracy on all test images, for each class in A.
        robust_a: Robust accuracy on A, for each class in A.
        robust_b: Robust accuracy on B, for each class in A.
        matrix: For each class in A, robust accuracy on each class.
        full: Robust accuracy of full adversarial training on each class.
    """

    source: str
    matrix_source: str = ""
    weights: str
    clean: tuple[float, ...]
    robust_a: tuple[float, ...]
    robust_b: tuple[float, ...]
    matrix: tuple[tuple[float, ...], ...]
    full: tuple[float, ...]

    def like(self, row: Row) -> bool:
        """Return whether the published arms weigh A and B as ours does, and keep A as it was."""
        return row.spec["weighting.rule"] == self.weights and not row.moving


@final
@attrs.frozen(kw_only=True)
class ClassCell:
    """Robust accuracy on one class.

    Attributes:
        accuracy: Ours, a mean over seeds, with its interval; None where the class has no test image.
        published: What others have published, in [0, 1].
        framed: Whether the class is in A.
    """

    accuracy: Accuracy | None
    published: float | None = None
    framed: bool = False

    @property
    def value(self) -> float | None:
        """Our accuracy without its interval, in [0, 1]."""
        return self.accuracy and self.accuracy.value

    @property
    def small(self) -> bool:
        """Whether it is of fewer than `SMALL` test images, so that it says little."""
        return self.accuracy is not None and self.accuracy.n < SMALL


@final
@attrs.frozen(kw_only=True)
class PartAccuracy:
    """Robust accuracy on A, on B, or on all classes, in [0, 1].

    Attributes:
        part: ``robust_a`` or ``robust_b``; ``robust`` for a baseline, which has no such parts.
        accuracy: Ours, with its interval over test images.
        deviation: Standard deviation over the seeds, in [0, 1]; 0 of one seed.
        plain: What plain training reaches on the same classes.
        published: What others have published.
    """

    part: str
    accuracy: Accuracy
    deviation: float = 0.0
    plain: float | None = None
    published: float | None = None

    @property
    def value(self) -> float:
        """Our accuracy without its interval."""
        return self.accuracy.value


@final
@attrs.frozen(kw_only=True)
class ClassLine:
    """One line of the matrix: arms with the same classes in A, or a baseline."""

    group: Group
    cells: tuple[ClassCell, ...]
    parts: tuple[PartAccuracy, ...]

    @property
    def baseline(self) -> Baseline | None:
        """Which baseline it is; None for a proper subset."""
        return self.group.rows[0].baseline

    def class_label(self, names: Sequence[str]) -> str:
        """Return up to three names of the classes in A, or their number; seeds may have different ones."""
        classes = self.group.rows[0].classes
        same = all(row.classes == classes for row in self.group.rows)
        return ", ".join(names[c] for c in classes) if same and len(classes) <= 3 else f"{len(classes)} classes"


@final
@attrs.frozen(kw_only=True)
class ClassMatrix:
    """The class-by-class matrix of a study in which A is made of classes (paper, Fig. 2 right).

    Attributes:
        curve: The arms that are drawn.
        lines: The baseline without attacks, the arms by their classes, full adversarial training.
        published: Numbers of others that are beside ours.
    """

    curve: Series
    lines: tuple[ClassLine, ...]
    published: PublishedClasses | None


def class_matrix(rows: Sequence[Row], published: PublishedClasses | None = None) -> ClassMatrix | None:
    """Make the matrix of the first curve over sets of classes, with both baselines; None without such arms.

    Args:
        rows: Arms of a study. Accuracies of several seeds are averaged.
        published: Numbers of others for arms that attack a single class; left out if their weights are not ours.
    """
    firsts = ((curve, curve.groups[0].rows[0]) for curve in series(rows))
    # Where A is chosen anew, no classes are those that were attacked.
    curves = [curve for curve, first in firsts if first.kind == "classes" and not first.moving]
    if not curves or rows[0].source:  # A has classes of the source, the test images those of the target
        return None
    curve = curves[0]
    published = published if published and published.like(curve.groups[0].rows[0]) else None
    ordered = sorted(curve.groups, key=lambda g: (len(g.rows[0].classes), g.rows[0].classes))
    groups = [g for g in (curve.plain, *ordered, curve.full) if g is not None]
    lines = (
        ClassLine(group=g, cells=tuple(_cells(g, published)), parts=tuple(_parts(g, curve.plain, published)))
        for g in groups
    )
    return ClassMatrix(curve=curve, lines=tuple(lines), published=published)


def _single_class(g: Group) -> int | None:
    """The class in A, if it is one, and the same for all seeds."""
    classes = {row.classes for row in g.rows}
    return g.rows[0].classes[0] if len(classes) == 1 and len(g.rows[0].classes) == 1 else None


def _cells(g: Group, published: PublishedClasses | None) -> Iterator[ClassCell]:
    first = g.rows[0]
    by_seed = [row.results.robust.per_class or () for row in g.rows]
    # no frames in a baseline: full AT would have one around each class
    in_a = () if first.baseline else set(first.classes).intersection(*(row.classes for row in g.rows))
    numbers = None
    if published and first.baseline is Baseline.FULL:
        numbers = published.full
    elif published and (single := _single_class(g)) is not None:
        numbers = published.matrix[single]
    for c, accuracies in enumerate(zip(*by_seed, strict=True)):
        yield ClassCell(
            # None where a seed has no test image of the class
            accuracy=mean_accuracy(accuracies),
            published=numbers[c] if numbers else None,
            framed=c in in_a,
        )


def _parts(g: Group, plain: Group | None, published: PublishedClasses | None) -> Iterator[PartAccuracy]:
    if g.rows[0].baseline:
        deviation = g.deviation("robust") or 0.0
        yield PartAccuracy(part="robust", accuracy=g.accuracy("robust"), deviation=deviation)
        return
    single = _single_class(g)
    for part in ("robust_a", "robust_b"):
        accuracy = g.part(part)
        if accuracy is not None:
            yield PartAccuracy(
                part=part,
                accuracy=accuracy,
                deviation=g.deviation(part) or 0.0,
                plain=plain.on_part_of(g, part) if plain else None,
                published=getattr(published, part)[single] if published and single is not None else None,
            )


def class_lists(rows: Sequence[Row]) -> list[str]:
    """Return a line for each arm whose A is made of classes, or for each of its seeds if they have other ones.

    Of more than half of all classes, a line names those that are left out.

    Args:
        rows: Arms of a study.
    """
    lines = []
    for curve in series(rows):
        for g in curve.groups:
            chosen = list(dict.fromkeys(row.classes for row in g.rows if row.kind == "classes" and not row.moving))
            share = f"{curve.strategy} {percent(g.rows[0].share)}"
            names = [_listed(classes, g.rows[0]) for classes in chosen]
            lines += [f"{share}: {' · '.join(names)}"] if chosen else []
    return lines


def _listed(classes: Sequence[int], row: Row) -> str:
    # of a transfer, names of the source's classes
    names = row.results.trained.data.classes
    left_out = [c for c in range(len(names)) if c not in classes]
    named, begin = (left_out, "all but ") if len(left_out) < len(classes) else (classes, "")
    words = [shown(names[c], 16) for c in named]
    more = f" and {len(words) - _MOST_LISTED} more" if len(words) > _MOST_LISTED else ""
    return f"{begin}{', '.join(words[:_MOST_LISTED])}{more}"


@final
@attrs.frozen(kw_only=True)
class ClassDifficulty:
    """Mean difficulty of each class (paper, Fig. 3).

    Attributes:
        order: Classes, hardest by entropy first.
        means: ``entropy`` (nats) and the other metrics of the ranking to {class: mean over its training examples}.
    """

    order: tuple[int, ...]
    means: dict[str, dict[int, float]]


def class_difficulty(ranking: Ranking, labels: np.ndarray) -> ClassDifficulty:
    """Average the difficulty of training examples by class.

    Args:
        ranking: Difficulty of each training example.
        labels: Class of each training example, int64 `(N,)`.
    """
    means = {
        # classes without a training example are left out: they have no mean
        metric: {c: float(scores[labels == c].mean()) for c in np.unique(labels).tolist()}
        for metric, scores in ranking.scores.items()
    }
    order = sorted(means["entropy"], key=lambda c: -means["entropy"][c])
    return ClassDifficulty(order=tuple(order), means=means)
