"""Results of a study as a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sat_core.accuracy import Accuracy
from sat_core.files import write_text
from sat_evaluation.results.compared import depends
from sat_evaluation.results.rows import Row, reported_levels

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""First characters of formulas in spreadsheets."""
_ENDS = {"": "value", "_low": "low", "_high": "high"}
_OWN_COLUMN = ("subset.kind", "subset.strategy", "subset.size", "weighting.rule", "training.seed", "subset.seed")


def csv_text(rows: Sequence[Row]) -> str:
    """Format one line per arm as CSV."""
    records = csv_records(rows)
    return csv_lines(records[0] if records else ["arm"], (record.values() for record in records))


def csv_records(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return one record per arm; the dotted keys in which arms differ have columns of their own."""
    keys = dict.fromkeys(key for row in rows for key in row.spec if key not in _OWN_COLUMN)
    # by repr: values may be lists, which a set cannot hold
    levels = reported_levels(rows)
    differ = [key for key in keys if len({repr(row.spec.get(key)) for row in rows if depends(key, row.baseline)}) > 1]
    return [
        {
            "arm": row.arm,
            "backend": row.backend,
            "kind": row.kind,
            "strategy": row.strategy,
            "size": row.size,
            "share": row.share,
            "attacked": row.results.trained.split.attacked,
            "attacked_in_b": row.results.trained.split.attacked_in_b,
            **{key: row.spec.get(key) for key in differ},
            "weighting": row.spec["weighting.rule"],
            "seed": row.seeds[0],
            "subset_seed": row.seeds[1],
            "epoch": row.epoch,
            **interval_columns("clean_all", row.clean),
            **interval_columns("robust_all", row.robust),
            "robust_A": row.robust_a and row.robust_a.value,
            "robust_B": row.robust_b and row.robust_b.value,
            "n": row.n,
            "level": row.level,
            **{key: value for level in levels for key, value in _of_level(row, level).items()},
            "attack_gradients": row.results.trained.cost.attack_gradients,
            "training_gradients": row.results.trained.cost.training_gradients,
            "ranking_gradients": row.results.trained.cost.ranking_gradients,
            "selection_forwards": row.results.trained.cost.selection_forwards,
            "full_at_gradients": row.results.trained.cost.full_at_gradients,
            "cost": row.cost,
            "seconds": row.seconds,
            "training_seconds": row.training_seconds,
            "selection_seconds": row.results.cost.seconds.get("selection"),
            "evaluation_seconds": row.results.cost.seconds.get("evaluation"),
        }
        for row in rows
    ]


def csv_lines(heads: Iterable[str] | None, lines: Iterable[Iterable[object]]) -> str:
    """Format a table as CSV, or without `heads` a part of one.

    Text that a spreadsheet would run as a formula gets an apostrophe in front, as OWASP recommends: names of classes
    come from data sets of others.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([_inert(cell) for cell in line] for line in ([] if heads is None else [heads]))
    writer.writerows([_inert(cell) for cell in line] for line in lines)
    return text.getvalue()


def _inert(cell: object) -> object:
    # text only: in front of a number, an apostrophe would make it text
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write one line per arm to `path`."""
    write_text(path, csv_text(rows))


def _of_level(row: Row, level: str) -> dict[str, float | None]:
    """Columns of a level that only some arms have; empty for the others."""
    at = row.at(level)
    return interval_columns(f"robust_{level}", at and at.robust)


def interval_columns(name: str, accuracy: Accuracy | None) -> dict[str, float | None]:
    """Return the columns of an accuracy: its value and the ends of its interval; empty where there is none."""
    return {f"{name}{end}": accuracy and getattr(accuracy, key) for end, key in _ENDS.items()}
