"""Arms against arms: how many images one resists that another one does not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from sat_core.errors import DataError
from sat_evaluation.report.charts import Cell, Matrix
from sat_evaluation.report.gather import Run
from sat_evaluation.report.words import arm_names
from sat_evaluation.results.curves import Group, group
from sat_evaluation.results.flags import image_flags
from sat_evaluation.results.rows import Row, attacks_of

_MOST = 12
"""Lines and columns, which are as many flags to read and as can be told apart."""


def against(run: Run) -> Matrix | None:
    """Draw which share of the test images an arm resists and another one does not; None with fewer than two arms.

    Of several seeds the first one is taken. Arms that were evaluated on other images than the first are left out.
    """
    groups = _spread(group(run.rows))
    names = arm_names(groups)
    flags = [(name, *found) for name, g in zip(names, groups, strict=True) if (found := _robust(run, g.rows[0]))]
    alike = [(name, robust) for name, images, robust in flags if np.array_equal(images, flags[0][1])]
    if len(alike) < 2:
        return None
    return Matrix(
        title="Robust here, broken there (% of the test images)",
        text="share of the test images that the arm of the line resists and the arm of the column does not",
        lines=tuple(name for name, _ in alike),
        columns=tuple(name for name, _ in alike),
        cells=tuple(tuple(_cells(name, robust, alike)) for name, robust in alike),
        corner="robust ↓, broken →",
        notes=_notes(run.rows, len(alike)),
        measured=attacks_of(run.rows),
    )


def _spread(groups: Sequence[Group]) -> list[Group]:
    """As many groups as are drawn: the baselines, and others from all over the study."""
    if len(groups) <= _MOST:
        return list(groups)
    baselines = [g for g in groups if g.rows[0].baseline][:2]
    others = [g for g in groups if not g.rows[0].baseline] or list(groups)
    places = np.linspace(0, len(others) - 1, _MOST - len(baselines)).round().astype(int)
    return [*baselines, *(others[place] for place in dict.fromkeys(places.tolist()))]


def _robust(run: Run, row: Row) -> tuple[np.ndarray, np.ndarray] | None:
    """Numbers of the reported images, and which are robust; None where the files of an arm do not say it."""
    try:
        flags = image_flags(run.folder.unit(row.arm), row.results)
    except DataError:
        return None
    return flags.image, flags.robust


def _cells(name: str, robust: np.ndarray, others: Sequence[tuple[str, np.ndarray]]) -> Iterator[Cell]:
    for other, flags in others:
        only = int((robust & ~flags).sum())
        tip = f"{only:,} of {len(robust):,} images: {name} resists, {other} does not"
        yield Cell(value=None if flags is robust else only / len(robust), tip=tip)


def _notes(rows: Sequence[Row], drawn: int) -> tuple[str, ...]:
    groups = group(rows)
    some = (f"{drawn} of {len(groups)} are drawn",) if drawn < len(groups) else ()
    return (*some, "the first seed of each") if any(len(g.rows) > 1 for g in groups) else some
