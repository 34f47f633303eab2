"""Names and numbers as a report writes them, and how much one plot shows."""

from __future__ import annotations

from collections.abc import Sequence

from sat_core.accuracy import Accuracy
from sat_evaluation.figures.share_data import curve_names
from sat_evaluation.results.curves import Group, listed_classes, of_seeds, series, spread
from sat_evaluation.results.rows import Row
from sat_evaluation.results.text import percent, shown

MOST_CURVES = 12
"""Curves of one plot; more cannot be told apart."""
PERCENT = (0.0, 100.0)
"""Lowest and highest end of an axis in percent."""


def cut(curves: Sequence[object]) -> tuple[str, ...]:
    """Return the note that only the first curves are drawn; nothing if all are."""
    return (f"the first {MOST_CURVES} of {len(curves)} curves are drawn",) if len(curves) > MOST_CURVES else ()


def bars_of(groups: Sequence[Group]) -> tuple[str, ...]:
    """Return notes on what the bars of a plot are, those of seeds in a note of their own."""
    seeds = of_seeds(groups)
    return (f"thin bars: {spread(groups)}", *([f"broad bars: {seeds}"] if seeds else []))


def arm_names(groups: Sequence[Group]) -> list[str]:
    """Return names for groups of arms, with |A| in them, for charts that have no axis for |A|."""
    curves = series([row for g in groups for row in g.rows])
    named = zip(curves, curve_names(curves), strict=True)
    names = {row.arm: name for curve, name in named for g in curve.groups for row in g.rows}
    return [_arm_name(g.rows[0], names.get(g.rows[0].arm, "")) for g in groups]


def _arm_name(row: Row, curve: str) -> str:
    if row.baseline:
        return row.baseline.label
    chosen = listed_classes(row)
    return f"A = {shown(chosen, 60)}" if chosen else f"{percent(row.share)} {curve or row.chosen}"


def with_deviation(value: float, deviation: float | None) -> str:
    """Return a mean in percent with its standard deviation over seeds, as ``87.0 ± 1.2``; of one seed alone."""
    return f"{100 * value:.1f}" + ("" if deviation is None else f" ± {100 * deviation:.1f}")


def of_images(g: Group, measure: str) -> str:
    """Return of how many images and seeds an accuracy is, with its deviation, as ``n = 200, ± 1.2 over 3 seeds``."""
    deviation = g.deviation(measure)
    seeds = "" if deviation is None else f", ± {100 * deviation:.1f} over {len(g.rows)} seeds"
    return f"n = {g.rows[0].n:,}{seeds}"


def with_interval(a: Accuracy) -> str:
    """Return an accuracy with its interval, as ``87.0 % [81.6, 91.0]``."""
    return f"{100 * a.value:.1f} % [{100 * a.low:.1f}, {100 * a.high:.1f}]"
