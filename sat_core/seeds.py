"""The key `seeds` of a study: every arm is trained several times, as by a list of ``training.seed`` in each grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sat_core.errors import SpecError, quoted

SEEDS = "seeds"
"""Key at the top of a study: how many seeds each arm has, or a list of them."""
TRAINING_SEED = "training.seed"
Grids = Sequence[Mapping[str, Sequence[Any]]]


def with_seeds(settings: Mapping[str, Any], grids: Grids) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return settings without the key `seeds`, and grids that have its seeds.

    Args:
        settings: Tables of a study. A number of seeds counts from ``training.seed`` on, which is 0 where it is not set.
            Random subsets take the seed of the training, unless ``subset.seed`` is set.
        grids: Those of the study.

    Raises:
        SpecError: `seeds` is no number and no list of seeds, or a grid has ``training.seed``, too.
    """
    settings = dict(settings)
    expanded = [dict(grid) for grid in grids] or [{}]
    if SEEDS in settings:
        seeds = _seeds(settings.pop(SEEDS), settings.get("training"))
        if any(TRAINING_SEED in grid for grid in expanded):
            raise SpecError(f"{SEEDS}: a grid has {TRAINING_SEED!r}, which says the same; take one of them out")
        for grid in expanded:
            grid[TRAINING_SEED] = seeds
    return settings, expanded


def _seeds(given: Any, training: Any) -> list[int]:
    if _whole(given) and given >= 1:
        first = training.get("seed", 0) if isinstance(training, Mapping) else 0
        if not _whole(first) or first < 0:
            raise SpecError(f"{TRAINING_SEED}: expected an integer >= 0, got {quoted(first)}")
        return list(range(first, first + given))
    listed = isinstance(given, list | tuple) and len(given) > 0
    if not listed or not all(_whole(seed) and seed >= 0 for seed in given) or len({*given}) < len(given):
        raise SpecError(
            f"{SEEDS}: expected how many, as 3, or a list of different ones, as [0, 1], got {quoted(given)}"
        )
    return list(given)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
