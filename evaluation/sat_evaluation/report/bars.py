"""What a report draws by class and by attack: the matrix of Fig. 2, difficulty, what broke the images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from sat_core.ranking import Ranking
from sat_evaluation.figures.matrix import matrix_lines, members, single_class
from sat_evaluation.paper.published import Classes
from sat_evaluation.report.charts import COLOURS, Bars, Cell, Matrix, Part
from sat_evaluation.report.plots import accuracy, arm_names
from sat_evaluation.results.curves import Group, group
from sat_evaluation.results.rows import Row
from sat_evaluation.results.table import BASELINES
from sat_evaluation.results.text import shown

_MOST = 40
"""Lines of one chart."""
_CLASSES = 200
"""Columns of a matrix that can still be read."""
GREY = -1


def class_charts(rows: Sequence[Row], theirs: Classes | None = None) -> Iterator[Matrix | Bars]:
    """Robust accuracy on each class, on A and on B, where A is made of classes; nothing without such an arm."""
    curve, lines = matrix_lines(rows)
    if curve is None or len(rows[0].class_names) > _CLASSES:
        return
    whole, lines = lines, lines[:_MOST]
    names = [shown(name, 24) for name in rows[0].class_names]
    labels = tuple(BASELINES.get(g.rows[0].baseline) or members(g, names) for g in lines)
    yield Matrix(
        title="Robust accuracy by class (%)",
        text="lines: the classes in A, which are attacked in training; columns: the class of the test images, framed "
        "where it is in A" + ("; in brackets: published" if theirs else ""),
        lines=labels,
        columns=tuple(names),
        notes=_first(whole),
        cells=tuple(tuple(_cells(g, label, names, theirs)) for g, label in zip(lines, labels, strict=True)),
    )
    yield Bars(
        title="Robust accuracy on A and on B",
        text="of each arm, robust accuracy on the classes that are attacked in training, and on the others",
        unit="robust accuracy (%)",
        highest=100,
        stacked=False,
        legend=(("on A, attacked", 1), ("on B, not attacked", 0), ("on all classes", GREY)),
        lines=tuple(
            (label, tuple(_on_parts(g, theirs, curve.none)), "") for g, label in zip(lines, labels, strict=True)
        ),
        notes=_first(whole),
    )


def _first(lines: Sequence[object]) -> tuple[str, ...]:
    return (f"the first {_MOST} of {len(lines)} are drawn",) if len(lines) > _MOST else ()


def _cells(g: Group, label: str, names: Sequence[str], theirs: Classes | None) -> Iterator[Cell]:
    values = np.array([row.per_class for row in g.rows], float).mean(0)
    inside = () if g.rows[0].baseline else set(g.rows[0].classes).intersection(*(row.classes for row in g.rows))
    for c, value in enumerate(values):
        other = None
        if theirs and g.rows[0].baseline == "all":
            other = theirs.full[c]
        elif theirs and (single := single_class(g)) is not None:
            other = theirs.matrix[single][c]
        known = "no test image" if np.isnan(value) else f"{100 * value:.1f} %"
        more = "" if other is None else f", published {100 * other:.0f} %"
        tip = f"A: {label}; on {names[c]}: {known}{more}"
        yield Cell(value=None if np.isnan(value) else float(value), tip=tip, theirs=other, framed=c in inside)


def _on_parts(g: Group, theirs: Classes | None, plain: Group | None) -> Iterator[Part]:
    if g.rows[0].baseline:
        a = g.accuracy("robust")
        yield Part(value=100 * a.value, number=GREY, tip=f"on all classes {accuracy(a)}")
        return
    single = single_class(g)
    for field, words, number in (("robust_a", "on A", 1), ("robust_b", "on B", 0)):
        found = g.part(field)
        if found is not None:
            published = 100 * getattr(theirs, field)[single] if theirs and single is not None else None
            more = "" if published is None else f", published {published:.1f} %"
            same = plain.on_part_of(g, field) if plain else None
            more += "" if same is None else f", plain training {100 * same:.1f} % on the same classes"
            yield Part(value=100 * found.value, number=number, tip=f"{words} {accuracy(found)}{more}", theirs=published)


def breakdown(results: Sequence[Mapping[str, Any]], rows: Sequence[Row]) -> Bars:
    """What became of the test images of each arm: misclassified as they are, broken by an attack, or robust."""
    groups = group(rows)
    by_arm = {result["arm"]: result for result in results}
    attacks = list(dict.fromkeys(a["name"] for result in results for a in result["attacks"]["breakdown"]))
    numbers = {name: 1 + number % (COLOURS - 1) for number, name in enumerate(attacks)}
    lines = []
    for name, g in list(zip(arm_names(groups), groups, strict=True))[:_MOST]:
        found = [by_arm[row.arm] for row in g.rows]
        parts = [
            Part(
                value=100 * g.accuracy("robust").value, number=0, tip=f"{name}: robust {accuracy(g.accuracy('robust'))}"
            )
        ]
        for attack in attacks:
            broken = [_broken(result, attack) for result in found]
            share = fmean(count / row.n for count, row in zip(broken, g.rows, strict=True))
            tip = f"{name}: {100 * share:.1f} % broken by {attack}, and by none before it ({fmean(broken):g} images)"
            parts.append(Part(value=100 * share, number=numbers[attack], tip=tip))
        wrong = 1 - g.accuracy("clean").value
        parts.append(Part(value=100 * wrong, number=GREY, tip=f"{name}: {100 * wrong:.1f} % misclassified as they are"))
        lines.append((name, tuple(parts), f"{100 * g.accuracy('robust').value:.1f}"))
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
        notes=_first(groups),
    )


def _broken(result: Mapping[str, Any], attack: str) -> int:
    return sum(a["broken"] for a in result["attacks"]["breakdown"] if a["name"] == attack)


def class_difficulty(ranking: Ranking, labels: np.ndarray, names: Sequence[str]) -> Iterator[Bars]:
    """Mean entropy and error of each class, hardest by entropy first (paper, Fig. 3)."""
    means = {
        metric: {c: float(scores[labels == c].mean()) for c in np.unique(labels).tolist()}
        for metric, scores in ranking.scores.items()
    }
    order = sorted(means["entropy"], key=lambda c: -means["entropy"][c])
    few = order if len(order) <= _MOST else [*order[: _MOST // 2], *order[-(_MOST // 2) :]]
    for metric, factor, what, unit in (
        ("entropy", 1, "Mean softmax entropy of the classes", "nats"),
        ("error", 100, "Errors in training by class", "%"),
    ):
        values = {c: factor * value for c, value in means[metric].items()}
        lines = [
            (
                shown(names[c], 24),
                (Part(value=values[c], number=0, tip=f"{shown(names[c])}: {values[c]:.3g} {unit}"),),
                "",
            )
            for c in few
        ]
        yield Bars(
            title=what,
            text="means over the training examples of a class and over epochs, the hardest class by entropy first",
            unit=unit,
            highest=max(*values.values(), 1e-9),
            lines=tuple((name, parts, f"{parts[0].value:.3g}") for name, parts, _ in lines),
            notes=() if few == order else (f"{len(few)} of {len(order)}: the hardest and the easiest",),
        )
