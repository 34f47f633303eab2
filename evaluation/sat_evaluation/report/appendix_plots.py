"""What the paper's appendix shows, as charts and tables of a report; the same values as in its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sat_core.agreement import shown_rho
from sat_core.ranking import Ranking
from sat_core.run_folder import RunFolder
from sat_evaluation.figures.agreement import agreement_of
from sat_evaluation.figures.class_entropy_data import ClassTransfer, PublishedTransfer
from sat_evaluation.figures.defence_data import defence_lines
from sat_evaluation.figures.gain_data import Gain, gains_on_b
from sat_evaluation.report.axes import Axis
from sat_evaluation.report.charts import Cell, Curve, Level, Mark, Matrix, Plot, ends
from sat_evaluation.report.table import Table
from sat_evaluation.report.tables import scores_table
from sat_evaluation.report.words import MOST_CURVES, PERCENT, with_interval
from sat_evaluation.results.rows import Row, attacks_of
from sat_evaluation.results.text import percent, shown

_POINTS = (-100.0, 100.0)
"""Lowest and highest end of an axis of differences, in points."""


def rankings_compared(
    rankings: Mapping[str, Ranking], scores: Sequence[str], file: str
) -> tuple[list[Matrix], list[Table]]:
    """Draw which share of the hardest examples every two scores have in common; Spearman's ρ is in the table.

    Args:
        rankings: By their names; without any there is nothing to draw.
        scores: Scores that are taken of each ranking.
        file: Name of the CSV file of the table.
    """
    if not rankings:
        return [], []
    agreement = agreement_of(rankings, scores)
    names = tuple(shown(name, 36) for name in agreement.metrics)
    charts = [
        Matrix(
            title=f"The hardest {percent(share)} in common (%)",
            text="how many of the hardest examples of one score are among those of the other; by chance "
            f"{percent(share)}. A score with ties overlaps with itself by less than 100",
            lines=names,
            columns=names,
            cells=tuple(
                tuple(
                    Cell(value=float(value), tip=f"{one} and {other}: {percent(float(value), 1)}")
                    for other, value in zip(names, values, strict=True)
                )
                for one, values in zip(names, overlap, strict=True)
            ),
            corner="score",
        )
        for share, overlap in agreement.overlap.items()
    ]
    caption = "Spearman's ρ of every two scores. The files also have which share of the hardest examples they share."
    return charts, [scores_table(agreement, file=file, caption=caption)]


def gain_plot(rows: Sequence[Row], folder: RunFolder) -> Plot | None:
    """Draw the gain on B against full AT on the same B over |A|, a mark for each set of classes; None without any."""
    gains = gains_on_b(rows, folder)
    if not gains:
        return None
    by_strategy: dict[str, list[Gain]] = {}
    for gain in gains:
        by_strategy.setdefault(gain.group.rows[0].strategy, []).append(gain)
    drawn = list(by_strategy.items())[:MOST_CURVES]
    curves = tuple(
        Curve(name=strategy, number=number, marks=tuple(map(_gain, own)), line=False)
        for number, (strategy, own) in enumerate(drawn)
    )
    several = any(len(gain.group.rows) > 1 for gain in gains)
    hows = " / ".join(dict.fromkeys(gain.how for gain in gains))
    return Plot(
        title="Gain on B against full AT on the same B",
        text="robust accuracy on the classes in B minus that of full adversarial training on the same classes, in "
        "points, over the share of the training set in A",
        x=Axis(label="|A|: part that is attacked (%)", low=-3, high=103, ticks=(0, 20, 40, 60, 80, 100)),
        y=Axis.over("gain on B (points)", [0.0, *(e for c in curves for e in ends(c.marks))], within=_POINTS),
        curves=curves,
        levels=(Level(y=0.0, name="full AT", full=True),),
        notes=("bars: 95 % interval over test images" + ", of several seeds over these, too" * several, hows),
        measured=attacks_of(rows),
    )


def _gain(gain: Gain) -> Mark:
    value, low, high = (100 * x for x in (gain.difference.value, gain.difference.low, gain.difference.high))
    tip = f"{gain.label}: {value:+.1f} points [{low:+.1f}, {high:+.1f}], n = {gain.n:,}"
    return Mark(x=100 * gain.group.rows[0].share, y=value, low=low, high=high, tip=tip)


def class_entropy_plot(
    transfer: ClassTransfer, rows: Sequence[Row], published: PublishedTransfer | None = None
) -> Plot:
    """Draw robust accuracy on B over the entropy of the one class in A, with Spearman's ρ in the legend."""
    marks = tuple(
        Mark(
            x=point.difficulty,
            y=100 * point.accuracy.value,
            low=100 * point.accuracy.low,
            high=100 * point.accuracy.high,
            tip=f"A = {shown(point.name, 24)}: {point.difficulty:.3g} nats, on B {with_interval(point.accuracy)}",
            deviation=100 * point.deviation,
        )
        for point in transfer.points
    )
    curves = [Curve(name=_correlated("ours", transfer.rho), number=0, marks=marks, line=False)]
    if published:
        pairs = zip(published.entropy, (100 * share for share in published.robust_b), strict=True)
        others = tuple(Mark(x=x, y=y, low=y, high=y, tip=f"published: {x:.3g} nats, {y:.1f} %") for x, y in pairs)
        name = _correlated("published", published.rho)
        curves.insert(0, Curve(name=name, number=1, marks=others, pale=True, line=False))
    everything = [mark for curve in curves for mark in curve.marks]
    return Plot(
        title="Robust accuracy on B over the entropy of the class in A",
        text="a mark for each class that was attacked alone",
        x=Axis.over("mean entropy of the class in A (nats)", [m.x for m in everything], within=(0.0, float("inf"))),
        y=Axis.over("robust accuracy on B (%)", ends(everything), within=PERCENT),
        curves=tuple(curves),
        notes=("bars: 95 % Wilson interval over test images", *(curve.name for curve in curves)),
        measured=attacks_of(rows),
    )


def _correlated(whose: str, rho: float) -> str:
    return f"{whose}: Spearman's ρ = {shown_rho(rho)}"


def defence_matrix(rows: Sequence[Row]) -> Matrix | None:
    """Draw the defence rate on each class, for the arms of the first curve; None without a proper subset."""
    lines = defence_lines(rows)
    if not lines:
        return None
    names = tuple(shown(name, 24) for name in rows[0].class_names)
    return Matrix(
        title="Defence rate by class (%)",
        text="share of the correctly classified test images that are robust; framed: classes in A",
        lines=tuple(line.label for line in lines),
        columns=names,
        cells=tuple(
            tuple(
                Cell(
                    value=cell.value,
                    tip=f"{line.label}; on {name}: "
                    + (f"{with_interval(cell.accuracy)}, n = {cell.accuracy.n:,}" if cell.accuracy else "no image"),
                    framed=cell.framed,
                    small=cell.small,
                )
                for name, cell in zip(names, line.cells, strict=True)
            )
            for line in lines
        ),
        measured=attacks_of(rows),
    )
