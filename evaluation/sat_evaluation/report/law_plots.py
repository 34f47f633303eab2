"""The law of |A|: the fitted curve of robust accuracy with its interval, and the |A| that is enough."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from sat_evaluation.figures.share_data import LEAST_HEIGHT, Point, points_of
from sat_evaluation.report.axes import Axis
from sat_evaluation.report.blocks import Charts, Note, charts
from sat_evaluation.report.charts import Band, Curve, Mark, Plot, ends
from sat_evaluation.report.table import Table
from sat_evaluation.report.words import PERCENT, bars_of, of_images
from sat_evaluation.results.law import CurveLaw, enough_words, law_sentence
from sat_evaluation.results.rows import attacks_of
from sat_evaluation.results.text import percent
from sat_evaluation.statistics.law import OF_FULL, Law

_MOST = 6
"""Curves that are drawn, each in a plot of its own."""
_DENSE = np.unique(np.concatenate([np.linspace(0, 0.1, 21), np.linspace(0.1, 1, 37)]))
"""|A|/N at which curves are drawn: they rise fast at first."""
_DIAMOND = 3


def law_blocks(laws: Sequence[CurveLaw], name: str) -> Iterator[Note | Charts | Table | None]:
    """Make the plots and the table of the laws of a run, whose name begins that of the file; nothing without any."""
    if not laws:
        return
    yield Note(text=law_sentence(laws))
    yield charts(*(_plot(one, several=len(laws) > 1) for one in laws[:_MOST]))
    if len(laws) > _MOST:
        yield Note(text=f"The first {_MOST} of {len(laws)} curves are drawn.", small=True)
    yield Table(
        heads=("curve", f"|A| for {percent(OF_FULL)} of full AT", "intervals over", "fit"),
        rows=tuple(
            (
                (one.name, one.name),
                (enough_words(one.enough), _known(one.enough.value, -1.0)),
                (one.over, one.over),
                (("fits, " if one.law.fits else "does not fit, ") + one.misfit, _known(one.law.p, 2.0)),
            )
            for one in laws
        ),
        columns=("curve", "of_full", "share", "low", "high", "over", "fits", "misfit", "freedom", "p", "paired"),
        lines=tuple(
            (one.name, OF_FULL, *_ends(one.enough), one.over, one.law.fits, *_fit(one.law), one.paired) for one in laws
        ),
        file=f"{name}-law.csv",
        caption=f"|A| at which a saturating curve reaches {percent(OF_FULL)} of full AT's robust accuracy, "
        "with its 95 % interval, and whether the curve fits.",
    )


def _plot(one: CurveLaw, *, several: bool) -> Plot:
    low, high = one.law.band(_DENSE)
    xs = 100 * _DENSE
    points = points_of(one.arms.points, "robust")
    measured = Curve(name="measured", number=0, marks=tuple(map(_mark, points)), line=False)
    fitted = Curve(name="fitted curve", number=0, marks=_line(xs, 100 * one.law.at(_DENSE)), thin=True)
    spline = Curve(name="monotone spline", number=5, marks=_line(xs, 100 * one.spline.at(_DENSE)), reference=True)
    level = 100 * float(one.law.at(one.enough.value)) if one.enough.value >= 0 else None
    enough = [] if level is None else list(_enough(one, level))
    values = [*ends(measured.marks), *(100 * low).tolist(), *(100 * high).tolist()]
    return Plot(
        title=f"The law of |A|: {one.name}" if several else "The law of |A|",
        text=f"robust accuracy in percent over the share of the training set in A, as measured and as fitted, with the "
        f"95 % interval of the fitted curve; {percent(OF_FULL)} of full adversarial training takes |A| = "
        f"{enough_words(one.enough)}",
        x=Axis(label="|A|: part that is attacked (%)", low=-3, high=103, ticks=(0, 20, 40, 60, 80, 100)),
        y=Axis.over("robust accuracy (%)", values, least=LEAST_HEIGHT, within=PERCENT),
        curves=(spline, fitted, *enough, measured),
        bands=(
            Band(
                name="95 % interval of the curve",
                number=0,
                points=tuple(zip(xs.tolist(), (100 * low).tolist(), (100 * high).tolist(), strict=True)),
            ),
        ),
        notes=(*bars_of(one.arms.points), f"intervals of the curve: over {one.over}"),
        measured=attacks_of(row for g in one.arms.points for row in g.rows),
    )


def _enough(one: CurveLaw, level: float) -> Iterator[Curve]:
    """The interval of the |A| that is enough as a line, and its value on it."""
    words = f"{percent(OF_FULL)} of full AT"
    tip = f"{words} with |A| = {enough_words(one.enough)}"
    value, low, high = (100 * end for end in _ends(one.enough))
    over = (Mark(x=x, y=level, low=level, high=level, tip="") for x in (low, high))
    yield Curve(name="interval of that |A|", number=_DIAMOND, marks=tuple(over), thin=True)
    mark = Mark(x=value, y=level, low=level, high=level, tip=tip, large=True)
    yield Curve(name=words, number=_DIAMOND, marks=(mark,), line=False)


def _mark(point: Point) -> Mark:
    row = point.group.rows[0] if point.group else None
    what = "" if row is None else row.baseline.label if row.baseline else f"{percent(row.share)} ({row.size:,})"
    tip = f"{what}: robust accuracy {point.value:.1f} % [{point.low:.1f}, {point.high:.1f}]"
    tip += f", {of_images(point.group, 'robust')}" if point.group else ""
    return Mark(x=point.share, y=point.value, low=point.low, high=point.high, tip=tip, deviation=point.deviation)


def _line(xs: np.ndarray, ys: Any) -> tuple[Mark, ...]:
    pairs = zip(xs.tolist(), np.asarray(ys, float).tolist(), strict=True)
    return tuple(Mark(x=x, y=y, low=y, high=y, tip="") for x, y in pairs)


def _ends(interval: Any) -> tuple[float, float, float]:
    return float(interval.value), float(interval.low), float(interval.high)


def _fit(law: Law) -> tuple[float, int, float]:
    return law.misfit, law.freedom, law.p


def _known(value: float, otherwise: float) -> float:
    # NaN has no place in an order
    return value if value == value else otherwise
