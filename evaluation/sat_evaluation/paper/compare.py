"""Numbers of a reproduction beside the published ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, final

import attrs
import numpy as np

from sat_core.accuracy import Accuracy, wilson
from sat_core.errors import DataError
from sat_core.run_folder import ReproductionFolder
from sat_evaluation.figures.class_data import PublishedClasses
from sat_evaluation.figures.share_data import PublishedCurve
from sat_evaluation.paper import published
from sat_evaluation.paper.panels import Panel, PaperFigure
from sat_evaluation.paper.reproduction import Reproduction, reproductions, rows_of
from sat_evaluation.results.baseline import Baseline
from sat_evaluation.results.curves import Group, group
from sat_evaluation.results.rows import Row, attacks_of
from sat_evaluation.results.text import percent, public_name, shown
from sat_evaluation.statistics.estimate import Estimate, estimate
from sat_evaluation.statistics.holm import holm
from sat_evaluation.statistics.mcnemar import LEVEL

_SAME_SHARE = 0.005
"""Shares that differ by less are the same: |A| is rounded to whole classes or examples."""


@final
@attrs.frozen(kw_only=True)
class Pair:
    """One of our numbers beside the published one, both in [0, 1] with their intervals.

    Attributes:
        panel: Data set, or ``source → target``.
        arm: The arm in words, such as ``hardest 50 %``.
        measure: A key of `sat_evaluation.figures.share_data.MEASURES`.
        ours: With its 95 % Wilson interval over test images; of several seeds their mean.
        published: With the Wilson interval for as many test images as the authors report on.
        attacks: By which ours was measured, see `sat_evaluation.results.rows.Row`.
        estimate: Ours minus the published value, without pairs: which images theirs is right on is not published.
        adjusted: p-value after Holm's correction for all pairs of the figure.
    """

    panel: str
    arm: str
    measure: str
    ours: Accuracy
    published: Accuracy
    attacks: str
    estimate: Estimate
    adjusted: float

    @property
    def agree(self) -> bool:
        """Whether no difference is found: the adjusted p-value is 5 % or more."""
        return self.adjusted >= LEVEL

    @property
    def difference(self) -> float:
        """Ours minus the published value."""
        return self.ours.value - self.published.value


def compare(out: ReproductionFolder) -> list[tuple[Reproduction, list[Pair]]]:
    """Compare each figure in a folder with its published numbers.

    Raises:
        RunDirectoryError: There is no figure.
        DataError: No finished arm has a published number.
    """
    comparisons = [(one, _corrected(list(_pairs(one.make(), out)))) for one in reproductions(out)]
    if not any(pairs for _, pairs in comparisons):
        panels = {p.title for one, _ in comparisons for p in one.make().panels if not _has_numbers(one.figure, p)}
        reason = (
            f"no numbers have been published on {', '.join(sorted(panels))} for {comparisons[0][0].figure}"
            if panels
            else "no arm is finished that has a published number"
        )
        if not any(published.has_numbers(one.figure) for one, _ in comparisons):
            figures = ", ".join(one.figure for one, _ in comparisons)
            raise DataError(f"{out}: no numbers have been published for {figures}, on any data set")
        raise DataError(f"{out}: {reason}\n`--scale short` and `--scale paper` have the data sets of the paper")
    return comparisons


def _corrected(pairs: list[Pair]) -> list[Pair]:
    """The pairs of a figure with p-values that are adjusted for their number."""
    adjusted = holm([pair.estimate.p for pair in pairs])
    return [attrs.evolve(pair, adjusted=p) for pair, p in zip(pairs, adjusted, strict=True)]


def _has_numbers(figure: str, panel: Panel) -> bool:
    numbers = published.curves(figure, panel.data, panel.target) or published.classes(figure, panel.data)
    return bool(numbers)


def _pairs(figure: PaperFigure, out: ReproductionFolder) -> Iterator[Pair]:
    for panel in figure.panels:
        groups = group(rows_of(panel, out))
        classes = published.classes(figure.name, panel.data)
        if classes:
            yield from _class_pairs(panel, groups, classes)
        n = published.examples(panel.target or panel.data)
        for curve in published.curves(figure.name, panel.data, panel.target):
            # those of a variant were ranked by another network, or trained otherwise
            for g in groups if not curve.variant else ():
                value = _published_value(curve, g)
                if value is not None:
                    yield _pair(panel, _arm(g), curve.measure, g, value, n)


def _class_pairs(panel: Panel, groups: list[Group], classes: PublishedClasses) -> Iterator[Pair]:
    for g in groups:
        row = g.rows[0]
        # weights differ under the paper's protocol: the text's arms of Fig. 2 have no published number
        if row.strategy == "listed" and classes.like(row):
            c = row.classes[0]
            for measure in ("clean", "robust_a", "robust_b"):
                if g.part(measure):
                    arm, value = f"A = {shown(row.class_names[c], 16)}", getattr(classes, measure)[c]
                    yield _pair(panel, arm, measure, g, value, published.examples(panel.data))


def _published_value(curve: PublishedCurve, g: Group) -> float | None:
    row = g.rows[0]
    if row.baseline:
        # no curve has a published value of plain training
        return curve.full if row.baseline is Baseline.FULL and row.spec["loss.kind"] == curve.loss else None
    values = curve.like(row)
    return next((value for share, value in values.items() if abs(share - _share(row)) < _SAME_SHARE), None)


def _share(row: Row) -> float:
    """|A| as a share of the classes or of the examples, whichever A is made of; published curves count so, too."""
    return row.units / len(row.class_names) if row.kind == "classes" and not row.source else row.share


def _arm(g: Group) -> str:
    row = g.rows[0]
    rule, loss = row.spec["weighting.rule"], row.spec["loss.kind"]
    return ", ".join(
        [
            row.baseline.label if row.baseline else f"{row.strategy} {percent(row.share)}",
            *([] if row.baseline or rule == "uniform" else [rule]),
            *([] if loss == "ce" else [loss]),
            *([f"{len(g.rows)} seeds"] if len(g.rows) > 1 and not row.baseline else []),
        ]
    )


def _pair(panel: Panel, arm: str, measure: str, g: Group, value: float, n: int) -> Pair:
    # the authors give no counts: the nearest one stands for the value, which is rounded
    interval = wilson(round(value * n), n)
    low, high = interval.interval if interval else (value, value)
    found = _estimate(g, measure, round(value * n), n)
    return Pair(
        panel=panel.title,
        arm=arm,
        measure=measure,
        ours=g.accuracy(measure),
        published=Accuracy(value, n, low, high),
        attacks=attacks_of(g.rows),
        estimate=found,
        adjusted=found.p,
    )


def _estimate(g: Group, measure: str, right: int, n: int) -> Estimate:
    """Compare ours with a published count, from counts alone."""
    ours = [accuracy for row in g.rows if (accuracy := getattr(row, measure)) is not None]
    images = min(accuracy.n for accuracy in ours)
    # seeds are right on the same images as far as they can be, so what images make of their mean is not too little
    flags = np.arange(images) < np.array([[round(accuracy.value * images)] for accuracy in ours])
    return estimate(flags, np.arange(n) < right, same=False)


def summary(reproduction: Reproduction, pairs: list[Pair]) -> Iterator[str]:
    """Say in lines how many pairs agree, which disagree most, and why they may differ."""
    apart = [pair for pair in pairs if not pair.agree]
    yield f"robust accuracy of ours by {' / '.join(dict.fromkeys(pair.attacks for pair in pairs))}"
    yield f"{len(pairs) - len(apart)} of {len(pairs)} agree: no difference found ({_how(pairs)}"
    if apart:
        worst = max(apart, key=lambda pair: abs(pair.difference))
        worst_arm = f"{worst.panel}, {worst.arm}, {worst.measure}"
        yield f"{len(apart)} disagree (≠), {worst_arm} most: by {100 * worst.difference:+.1f} points"
    yield from caveats(reproduction)


def _how(pairs: list[Pair]) -> str:
    visible = sorted(100 * pair.estimate.visible for pair in pairs)
    ways = " or ".join(dict.fromkeys(pair.estimate.how for pair in pairs))
    seen = f"could have seen {visible[0]:.1f} to {visible[-1]:.1f} points, each pair alone"
    return f"{ways}; Holm for {len(pairs)} pairs); {seen}"


def records(reproduction: Reproduction, pairs: list[Pair]) -> list[dict[str, Any]]:
    """Return one record per pair, for CSV and JSON; accuracies are shares."""
    return [
        {
            "figure": reproduction.figure,
            "panel": pair.panel,
            "arm": pair.arm,
            "accuracy": pair.measure,
            "ours": pair.ours.value,
            "published": pair.published.value,
            "difference": pair.estimate.difference.value,
            "low": pair.estimate.difference.low,
            "high": pair.estimate.difference.high,
            "p": pair.estimate.p,
            "p_holm": pair.adjusted,
            "pairs_tested": len(pairs),
            "difference_found": not pair.agree,
            "could_have_seen": pair.estimate.visible,
            "n_ours": pair.estimate.n[0],
            "n_published": pair.estimate.n[1],
            "how": pair.estimate.how,
        }
        for pair in pairs
    ]


def caveats(reproduction: Reproduction) -> Iterator[str]:
    """Say in lines which settings differ from those behind the published numbers."""
    if reproduction.scale != "paper":
        yield f"ours are of scale {reproduction.scale}: trainings are shorter than the published ones"
    if reproduction.data or reproduction.settings:
        changed = [*(f"{role}={public_name(name)}" for role, name in reproduction.data.items()), *reproduction.settings]
        yield f"ours have other data or settings than the published ones: {', '.join(changed)}"
    if reproduction.protocol != "authors":
        yield "the published numbers come from the authors' code: --protocol authors measures as it does"
