"""Charts by class and by attack: the matrix of Fig. 2, difficulty, and which attack broke the test images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean

import numpy as np

from sat_core.ranking import Ranking
from sat_evaluation.figures.class_data import (
    SMALL,
    ClassCell,
    PartAccuracy,
    PublishedClasses,
    class_difficulty,
    class_matrix,
)
from sat_evaluation.report.charts import COLOURS, Bars, Cell, Matrix, Part
from sat_evaluation.report.words import arm_names, with_interval
from sat_evaluation.results.curves import group
from sat_evaluation.results.rows import Row, attacks_of
from sat_evaluation.results.text import shown

MOST_LINES = 40
"""Bars of one chart."""
MOST_CLASSES = 200
"""Columns of a matrix that can still be read."""
GREY = -1
"""Number of the colour grey."""


def class_charts(rows: Sequence[Row], published: PublishedClasses | None = None) -> Iterator[Matrix | Bars]:
    """Draw robust accuracy on each class, on A and on B, where A is made of classes; nothing without such an arm."""
    matrix = class_matrix(rows, published)
    if matrix is None or len(rows[0].class_names) > MOST_CLASSES:
        return
    lines = matrix.lines[:MOST_LINES]
    names = [shown(name, 24) for name in rows[0].class_names]
    labels = tuple(line.baseline.label if line.baseline else line.class_label(names) for line in lines)
    yield Matrix(
        title="Robust accuracy by class (%)",
        text="lines: the classes in A, which are attacked in training; columns: the class of the test images, framed "
        "where it is in A"
        + ("; in brackets: published" if matrix.published else "")
        + few_images(line.cells for line in matrix.lines),
        lines=labels,
        columns=tuple(names),
        notes=first_lines(matrix.lines),
        measured=attacks_of(rows),
        cells=tuple(
            tuple(class_cells(line.cells, f"A: {label}", names)) for line, label in zip(lines, labels, strict=True)
        ),
    )
    yield Bars(
        title="Robust accuracy on A and on B",
        text="of each arm, robust accuracy on the classes that are attacked in training, and on the others",
        unit="robust accuracy (%)",
        highest=100,
        stacked=False,
        legend=(("on A, attacked", 1), ("on B, not attacked", 0), ("on all classes", GREY)),
        lines=tuple((label, tuple(map(_part, line.parts)), "") for line, label in zip(lines, labels, strict=True)),
        notes=first_lines(matrix.lines),
        measured=attacks_of(rows),
    )


def first_lines(lines: Sequence[object]) -> tuple[str, ...]:
    """Return the note that only some are drawn; nothing if all are."""
    return (f"the first {MOST_LINES} of {len(lines)} are drawn",) if len(lines) > MOST_LINES else ()


def class_cells(cells: Sequence[ClassCell], label: str, names: Sequence[str]) -> Iterator[Cell]:
    """Make a line of a matrix with a column for each class. label: of the arms, for what the pointer shows."""
    for name, cell in zip(names, cells, strict=True):
        ours = "no test image" if cell.accuracy is None else f"{with_interval(cell.accuracy)}, n = {cell.accuracy.n:,}"
        more = "" if cell.published is None else f", published {100 * cell.published:.0f} %"
        tip = f"{label}; on {name}: {ours}{more}"
        yield Cell(value=cell.value, tip=tip, published=cell.published, framed=cell.framed, small=cell.small)


def few_images(lines: Iterable[Sequence[ClassCell]]) -> str:
    """Return what the mark of small cells means, behind other text; empty where there are none."""
    return f"; °: fewer than {SMALL} test images" if any(cell.small for line in lines for cell in line) else ""


_PARTS = {"robust_a": ("on A", 1), "robust_b": ("on B", 0), "robust": ("on all classes", GREY)}
"""Parts of a `ClassLine` in words, and their colours."""


def _part(part: PartAccuracy) -> Part:
    words, number = _PARTS[part.part]
    published = None if part.published is None else 100 * part.published
    more = "" if published is None else f", published {published:.1f} %"
    more += "" if part.plain is None else f", plain training {100 * part.plain:.1f} % on the same classes"
    seeds = f", ± {100 * part.deviation:.1f} over seeds" if part.deviation else ""
    tip = f"{words} {with_interval(part.accuracy)}{seeds}{more}"
    return Part(value=100 * part.value, number=number, tip=tip, published=published)


def breakdown(rows: Sequence[Row]) -> Bars:
    """Draw what became of the test images of each arm: misclassified as they are, broken by an attack, or robust."""
    groups = group(rows)
    attacks = list(dict.fromkeys(a.settings.name for row in rows for a in row.results.attacks.breakdown))
    # colour 0 is that of robust images
    numbers = {name: 1 + number % (COLOURS - 1) for number, name in enumerate(attacks)}
    lines = []
    for name, g in list(zip(arm_names(groups), groups, strict=True))[:MOST_LINES]:
        robust = g.accuracy("robust")
        parts = [Part(value=100 * robust.value, number=0, tip=f"{name}: robust {with_interval(robust)}")]
        for attack in attacks:
            broken = [_broken(row, attack) for row in g.rows]
            share = fmean(count / row.n for count, row in zip(broken, g.rows, strict=True))
            images = f"{fmean(broken):g} {'image' if fmean(broken) == 1 else 'images'}"
            tip = f"{name}: {100 * share:.1f} % broken by {attack}, and by none before it ({images})"
            parts.append(Part(value=100 * share, number=numbers[attack], tip=tip))
        wrong = 1 - g.accuracy("clean").value
        parts.append(Part(value=100 * wrong, number=GREY, tip=f"{name}: {100 * wrong:.1f} % misclassified as they are"))
        lines.append((name, tuple(parts), f"{100 * robust.value:.1f}"))
    return Bars(
        title="What became of the test images",
        text="share of the test images that are robust, broken by an attack, or misclassified without one; each attack "
        "gets only what none before it broke",
        unit="test images (%), robust ones in numbers",
        highest=100,
        lines=tuple(lines),
        legend=(
            ("robust", 0),
            *((f"broken by {name}", number) for name, number in numbers.items()),
            ("misclassified", GREY),
        ),
        notes=first_lines(groups),
        measured=attacks_of(rows),
    )


def _broken(row: Row, attack: str) -> int:
    return sum(a.broken for a in row.results.attacks.breakdown if a.settings.name == attack)


def difficulty_charts(ranking: Ranking, labels: np.ndarray, names: Sequence[str]) -> Iterator[Bars]:
    """Draw mean entropy and error of each class, hardest by entropy first (paper, Fig. 3)."""
    difficulty = class_difficulty(ranking, labels)
    order = difficulty.order
    few = order if len(order) <= MOST_LINES else (*order[: MOST_LINES // 2], *order[-(MOST_LINES // 2) :])
    for metric, factor, title, unit in (
        ("entropy", 1, "Mean softmax entropy of the classes", "nats"),
        ("error", 100, "Errors in training by class", "%"),
    ):
        values = {c: factor * value for c, value in difficulty.means[metric].items()}
        yield Bars(
            title=title,
            text="means over the training examples of a class and over epochs, the hardest class by entropy first",
            unit=unit,
            # the template divides by it; a network without errors has an axis up to 1 %
            highest=max(values.values()) or 1.0,
            lines=tuple(
                (
                    shown(names[c], 24),
                    (Part(value=values[c], number=0, tip=f"{shown(names[c])}: {values[c]:.3g} {unit}"),),
                    f"{values[c]:.3g}",
                )
                for c in few
            ),
            notes=() if few == order else (f"{len(few)} of {len(order)}: the hardest and the easiest",),
        )
