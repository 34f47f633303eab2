"""`sat compare`: our numbers of a reproduction beside those that have been published."""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

import attrs

from sat_core.accuracy import Accuracy, wilson
from sat_core.errors import DataError
from sat_core.run_folder import ReproductionFolder
from sat_evaluation.figures.share_data import PublishedCurve
from sat_evaluation.paper import published
from sat_evaluation.paper.panels import Panel, PaperFigure
from sat_evaluation.paper.reproduce import Reproduction, reproductions, rows_of
from sat_evaluation.results.baseline import Baseline
from sat_evaluation.results.curves import Group, group
from sat_evaluation.results.rows import Row
from sat_evaluation.results.text import percent, shown


@final
@attrs.frozen(kw_only=True)
class Pair:
    """One number of ours and the published one, both shares in [0, 1] with their intervals."""

    panel: str
    arm: str
    measure: str
    ours: Accuracy
    theirs: Accuracy

    @property
    def agree(self) -> bool:
        """Whether the intervals overlap."""
        return self.ours.low <= self.theirs.high and self.theirs.low <= self.ours.high


def compare(out: ReproductionFolder) -> list[tuple[Reproduction, list[Pair]]]:
    """The pairs of each figure in `out`. RunDirectoryError if none is there, DataError if nothing can be compared."""
    found = [(asked, list(_pairs(asked.make(), out))) for asked in reproductions(out)]
    if not any(pairs for _, pairs in found):
        panels = {p.title for asked, _ in found for p in asked.make().panels if not _has_numbers(asked.figure, p)}
        reason = (
            f"no numbers have been published on {', '.join(sorted(panels))} for {found[0][0].figure}"
            if panels
            else "no arm is finished that has a published number"
        )
        raise DataError(f"{out}: {reason}\n`--scale short` and `--scale paper` have the data sets of the paper")
    return found


def _has_numbers(figure: str, panel: Panel) -> bool:
    numbers = published.curves(figure, panel.data, panel.target) or published.classes(figure, panel.data)
    return bool(numbers)


def _pairs(figure: PaperFigure, out: ReproductionFolder) -> Iterator[Pair]:
    for panel in figure.panels:
        groups = group(rows_of(panel, out))
        n = published.examples(panel.target or panel.data)
        theirs = published.classes(figure.name, panel.data)
        if theirs:
            for g in groups:
                row = g.rows[0]
                alike = row.strategy == "listed" and row.spec["weighting.rule"] == theirs.weights
                c = row.classes[0] if alike else None
                for measure in ("clean", "robust_a", "robust_b") if c is not None else ():
                    ours = g.part(measure)
                    if ours and c is not None:
                        arm = f"A = {shown(row.class_names[c], 16)}"
                        yield _pair(panel, arm, measure, ours, getattr(theirs, measure)[c], n)
        for curve in published.curves(figure.name, panel.data, panel.target):
            for g in groups if not curve.variant else ():
                value = _theirs(curve, g)
                if value is not None:
                    yield _pair(panel, _arm(g), curve.measure, g.accuracy(curve.measure), value, n)


def _theirs(curve: PublishedCurve, g: Group) -> float | None:
    row = g.rows[0]
    if row.baseline:
        return curve.full if row.baseline is Baseline.FULL else None
    values = curve.like(row.strategy, row.spec["weighting.rule"])
    return next((value for share, value in values.items() if abs(share - _asked(row)) < 0.005), None)


def _asked(row: Row) -> float:
    """|A| as a share, of classes or of examples, whichever A is made of."""
    return row.units / len(row.class_names) if row.kind == "classes" and not row.source else row.share


def _arm(g: Group) -> str:
    row = g.rows[0]
    if row.baseline:
        return row.baseline.label
    seeds = f", {len(g.rows)} seeds" if len(g.rows) > 1 else ""
    rule = row.spec["weighting.rule"]
    return f"{row.strategy} {percent(row.share)}{'' if rule == 'uniform' else f', {rule}'}{seeds}"


def _pair(panel: Panel, arm: str, measure: str, ours: Accuracy, value: float, n: int) -> Pair:
    interval = wilson(round(value * n), n)
    low, high = interval.interval if interval else (value, value)
    theirs = Accuracy(value, n, low, high)
    return Pair(panel=panel.title, arm=arm, measure=measure, ours=ours, theirs=theirs)


def summary(asked: Reproduction, pairs: list[Pair]) -> Iterator[str]:
    """How many pairs agree, which disagree most, and why they may differ besides, in lines."""
    apart = [pair for pair in pairs if not pair.agree]
    counts = f"{len(pairs) - len(apart)} of {len(pairs)} agree"
    yield f"{counts}: the intervals overlap (95 %; of several seeds, lowest to highest)"
    if apart:
        worst = max(apart, key=lambda pair: abs(pair.ours.value - pair.theirs.value))
        far = 100 * (worst.ours.value - worst.theirs.value)
        yield f"{len(apart)} disagree (≠), {worst.panel}, {worst.arm}, {worst.measure} most: by {far:+.1f} points"
    yield from caveats(asked)


def caveats(asked: Reproduction) -> Iterator[str]:
    """Why numbers of ours and of others may differ besides."""
    if asked.scale != "paper":
        yield f"ours are of scale {asked.scale}: trainings are shorter than the published ones"
    if asked.data or asked.settings:
        changed = [*(f"{role}={name}" for role, name in asked.data.items()), *asked.settings]
        yield f"ours have other data or settings than the published ones: {', '.join(changed)}"
    if asked.protocol != "authors":
        yield "the published numbers come from the authors' code: --protocol authors measures as it does"
