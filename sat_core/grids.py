"""What a grid of a study may have: which keys, which values, and how many points."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from sat_core.errors import SpecError, quoted
from sat_core.plugins import PLUGINS
from sat_core.registry import nearest
from sat_core.report_arms import REPORT_ARMS
from sat_core.seeds import SEEDS
from sat_core.spec import KEYS
from sat_core.transfer import SETTINGS

LIST_KEYS = (
    PLUGINS,
    "model.mean",
    "model.std",
    "subset.classes",
    "loss.beta",
    "loss.class_weights",
    "evaluation.attacks",
    "evaluation.selection_attacks",
    "evaluation.selection_epochs",
)
"""Keys whose value may itself be a list; in a grid each takes a list of lists."""
SHARED = ("data.name", "ranking.epochs", "ranking.model", "ranking.record", "ranking.file", "ranking.extra")
"""Keys of the ranking, which all arms of a study share."""
LIMIT = 10_000
"""Maximum number of arms, unless the environment variable SAT_MAX_ARMS is set."""
TRANSFER_KEYS = ("transfer.targets", *(f"transfer.{key}" for key in SETTINGS))
"""Keys of the table [transfer]."""


def as_grids(given: Any) -> Any:
    """Return a list of grids; a single one needs no list around it."""
    return (given,) if isinstance(given, Mapping) else given


def check_key(key: str) -> None:
    """Raise SpecError for a key that no study has, naming the nearest one."""
    keys = (*KEYS, REPORT_ARMS, SEEDS, *TRANSFER_KEYS)
    if key not in keys:
        raise SpecError(f"unknown key {quoted(key)}{nearest(key, keys)}")


def check_grids(grids: Sequence[Mapping[str, Sequence[Any]]]) -> None:
    """Raise SpecError for a key that cannot be in a grid, for what is no list of its values, or for too many points."""
    for key, values in (pair for grid in grids for pair in grid.items()):
        if key in TRANSFER_KEYS:
            raise SpecError(f"grid: {key!r} is for all arms alike; set it in [transfer], or run two transfers")
        if key in (PLUGINS, SEEDS):
            raise SpecError(f"grid: {key!r} is for all arms alike; set it at the top of the study")
        if key == REPORT_ARMS:
            raise SpecError(f"grid: {key!r} names arms of the study; set it in [evaluation]")
        check_key(key)
        if key in SHARED:
            raise SpecError(f"grid: {key!r} makes the ranking, which the arms of a study share; run two studies")
        if not isinstance(values, list | tuple) or not values:
            raise SpecError(f"grid: expected a list of values for {key!r}, got {quoted(values)}")
        # Two β are the ends of a line, but each of several in a grid may also be one number.
        single = str | int | float if key == "loss.beta" else str
        if key in LIST_KEYS and not all(isinstance(v, list | tuple | single) for v in values):
            raise SpecError(f"grid: expected a list of lists for {key!r}, got {quoted(values)}")
    _check_size(grids)


def _check_size(grids: Sequence[Mapping[str, Sequence[Any]]]) -> None:
    # Counted, not made: three lists of a thousand values would fill the memory first.
    points = sum(math.prod(map(len, grid.values())) for grid in grids)
    limit = os.environ.get("SAT_MAX_ARMS") or str(LIMIT)
    if not limit.isdecimal():
        raise SpecError(f"SAT_MAX_ARMS: expected how many arms a study may have, got {quoted(limit)}")
    if points > int(limit):
        raise SpecError(
            f"grid: expected at most {int(limit):,} arms, got {points:,}\n"
            "take out values, or allow them with the environment variable SAT_MAX_ARMS"
        )
