"""Marks behind the strategy of arms in which other examples were attacked than those of an A that stays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sat_core.result_parts import SplitSummary

B_ATTACKED = "B attacked, too"
"""Robust accuracy is not that of a B without attacks."""
EACH_BATCH = "each batch chooses"
"""No A is chosen before the training, so that there is none whose outside could have been attacked."""
_NOTES = {
    B_ATTACKED: "examples outside of the A of the beginning were attacked",
    EACH_BATCH: "no A stays; every batch chooses which of its examples are attacked",
}


def mark_of(split: SplitSummary, spec: Mapping[str, Any]) -> str:
    """Return the mark of an arm; empty where A stays, or no example outside of the first A was attacked.

    Args:
        split: Of the arm.
        spec: Its settings, by dotted key.
    """
    if split.moving and not spec["subset.rerank"]:
        return EACH_BATCH
    return B_ATTACKED if split.attacked_in_b else ""


def notes_of(marks: Iterable[str]) -> list[str]:
    """Return a line for each mark that is there, which says what it means."""
    there = set(marks)
    return [f"{mark}: {note}" for mark, note in _NOTES.items() if mark in there]
