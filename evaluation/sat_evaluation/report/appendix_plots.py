"""What the paper's appendix shows, as charts and tables of a report; the same values as in its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from sat_core.agreement import shown_rho
from sat_core.ranking import Ranking
from sat_core.run_folder import RunFolder
from sat_evaluation.figures.agreement import agreement_of
from sat_evaluation.figures.class_entropy_data import ClassPoint, ClassTransfer, PublishedTransfer
from sat_evaluation.figures.defence_data import defence_lines
from sat_evaluation.figures.gain_data import gains_on_b
from sat_evaluation.figures.share_data import LEAST_HEIGHT
from sat_evaluation.report.axes import Axis
from sat_evaluation.report.bars import MOST_CLASSES, MOST_LINES, class_cells, few_images, first_lines
from sat_evaluation.report.charts import Cell, Curve, Mark, Matrix, Plot, ends
from sat_evaluation.report.forest import Forest, Line, axis_of
from sat_evaluation.report.place_labels import with_labels
from sat_evaluation.report.share_plots import over_share
from sat_evaluation.report.table import Table
from sat_evaluation.report.tables import scores_table
from sat_evaluation.report.words import PERCENT, with_deviation
from sat_evaluation.results.rows import Row, attacks_of
from sat_evaluation.results.text import percent, shown


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


def defence_plot(rows: Sequence[Row]) -> Plot | None:
    """Draw the defence rate over |A| (paper, Fig. 17); None without a proper subset."""
    plot = over_share(rows, ("defence",), "Defence rate")
    return plot and attrs.evolve(
        plot, y=attrs.evolve(plot.y, label="robust ones of the correctly classified images (%)")
    )


def defence_matrix(rows: Sequence[Row]) -> Matrix | None:
    """Draw the defence rate on each class, for the arms of the first curve; None where it is not known."""
    lines, names = defence_lines(rows), [shown(name, 24) for name in rows[0].class_names]
    cells = [cell for line in lines[:MOST_LINES] for cell in line.cells]
    if len(names) > MOST_CLASSES or not any(cell.accuracy for cell in cells):
        return None
    drawn = lines[:MOST_LINES]
    return Matrix(
        title="Defence rate by class (%)",
        text="share of the correctly classified test images that are robust; columns: their class"
        + ", framed where it is in A" * any(cell.framed for cell in cells)
        + few_images(line.cells for line in drawn),
        lines=tuple(line.label for line in drawn),
        columns=tuple(names),
        cells=tuple(tuple(class_cells(line.cells, line.label, names)) for line in drawn),
        corner="arm",
        notes=first_lines(lines),
        measured=attacks_of(rows),
    )


def gain_plot(rows: Sequence[Row], folder: RunFolder) -> Forest | None:
    """Draw robust accuracy on B minus that of full AT on the same classes; None where A is not made of classes."""
    every = gains_on_b(rows, folder)
    strategies = list(dict.fromkeys(gain.group.rows[0].strategy for gain in every))
    lines = tuple(
        Line(
            name=gain.label,
            value=100 * gain.difference.value,
            low=100 * gain.difference.low,
            high=100 * gain.difference.high,
            n=gain.n,
            number=strategies.index(gain.group.rows[0].strategy),
        )
        for gain in every[:MOST_LINES]
    )
    if not lines:
        return None
    several = ", of several seeds over these, too" * any(len(gain.group.rows) > 1 for gain in every)
    hows = " / ".join(dict.fromkeys(gain.how for gain in every))
    return Forest(
        title="Gain on B against full AT on the same B",
        text="a line for each set of classes in A, with its 95 % interval",
        what="A",
        x=axis_of("robust accuracy on B minus that of full AT there (points)", lines),
        lines=lines,
        legend=tuple((shown(name), number) for number, name in enumerate(strategies)),
        notes=(f"[ ] and bars: 95 % interval over test images{several}; {hows}", *first_lines(every)),
        measured=attacks_of(rows),
    )


def class_entropy_plot(
    transfer: ClassTransfer, rows: Sequence[Row], published: PublishedTransfer | None = None
) -> Plot:
    """Draw robust accuracy on B over the entropy of the one class in A, a mark with a name for each class."""
    own = tuple(map(_mark, transfer.points))
    curves = [Curve(name=_correlated("ours: " * bool(published), transfer.rho), number=0, marks=own, line=False)]
    if published:
        pairs = zip(published.entropy, (100 * share for share in published.robust_b), strict=True)
        others = tuple(Mark(x=x, y=y, low=y, high=y, tip=f"published: {x:.3g} nats, {y:.1f} %") for x, y in pairs)
        curves.insert(
            0, Curve(name=_correlated("published: ", published.rho), number=1, marks=others, pale=True, line=False)
        )
    marks = [mark for curve in curves for mark in curve.marks]
    seeds = ("broad bars: standard deviation over seeds",) * any(mark.deviation for mark in own)
    plot = Plot(
        title="Robust accuracy on B over the entropy of the class in A",
        text="a mark for each class that was attacked alone",
        x=Axis.over("mean entropy of the class in A (nats)", [mark.x for mark in marks], within=(0.0, float("inf"))),
        y=Axis.over("robust accuracy on B (%)", ends(marks), least=LEAST_HEIGHT, within=PERCENT),
        curves=tuple(curves),
        notes=("thin bars: 95 % Wilson interval over test images", *seeds, *(curve.name for curve in curves)),
        measured=attacks_of(rows),
    )
    return with_labels(plot, [shown(point.name, 16) for point in transfer.points])


def _correlated(whose: str, rho: float) -> str:
    return f"{whose}Spearman's ρ = {shown_rho(rho)}"


def _mark(point: ClassPoint) -> Mark:
    value, low, high = (100 * end for end in (point.accuracy.value, point.accuracy.low, point.accuracy.high))
    words = f"{with_deviation(point.accuracy.value, point.deviation or None)} % [{low:.1f}, {high:.1f}]"
    return Mark(
        x=point.difficulty,
        y=value,
        # rounding may leave the mean of several seeds just outside of its interval
        low=min(low, value),
        high=max(high, value),
        tip=f"A = {shown(point.name, 40)}: {words} on the others; {point.difficulty:.3g} nats",
        deviation=100 * point.deviation,
    )
