"""Short names of arms in figures that have a line for each."""

from __future__ import annotations

from collections.abc import Sequence

from sat_evaluation.results.curves import Group, listed_classes, method_name
from sat_evaluation.results.rows import Row
from sat_evaluation.results.text import percent


def arm_label(row: Row, keys: Sequence[str]) -> str:
    """Return strategy, |A| and settings of an arm, such as ``hardest 30 %, trades``; baselines by their name.

    Args:
        row: The arm.
        keys: Settings in which the arms of the study differ, as `sat_evaluation.results.curves.varied` returns them.
    """
    name = method_name(row, keys)
    if row.baseline or listed_classes(row):
        return name
    return name.replace(row.chosen, f"{row.chosen} {percent(row.share)}", 1)


def seeds_of(g: Group) -> str:
    """Return how many seeds a group has, in words; empty for one."""
    return f" ({len(g.rows)} seeds)" if len(g.rows) > 1 else ""
