"""Conclusions as CSV, a line per pair, and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sat_core.errors import SpecError
from sat_core.files import write_json, write_text
from sat_evaluation.results.conclusions import Conclusions
from sat_evaluation.results.csv_file import csv_lines

SUFFIXES = (".csv", ".json")


def check_suffix(path: Path) -> None:
    """Raise SpecError for a file that is neither CSV nor JSON by its name."""
    if path.suffix not in SUFFIXES:
        raise SpecError(f"--out: expected a file that ends in {' or '.join(SUFFIXES)}, got {path.name!r}")


def write_conclusions(path: Path, made: Conclusions) -> None:
    """Write the pairs as CSV, or everything as JSON; SpecError if the name of the file says neither."""
    check_suffix(path)
    if path.suffix == ".csv":
        write_records(path, made.records())
    else:
        write_json(path, as_json(made))


def write_records(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Write records with the same keys as CSV, or as a list in JSON; SpecError if the name of the file says neither."""
    check_suffix(path)
    if path.suffix == ".csv":
        write_text(path, records_csv(records))
    else:
        write_json(path, [dict(record) for record in records])


def records_csv(records: Sequence[Mapping[str, Any]]) -> str:
    """Return a line per record; empty text without any."""
    return csv_lines(list(records[0]), [record.values() for record in records]) if records else ""


def as_json(made: Conclusions) -> dict[str, Any]:
    """Return pairs, recovered shares, the test of all arms and notes, for `json.dumps`; what is unbounded is null."""
    overall = made.overall
    return {
        "accuracy": made.measure,
        "pairs": made.records(),
        "recovered": [
            {
                "name": share.name,
                "arms": list(share.arms),
                **{end: _finite(getattr(share.recovered.interval, end)) for end in ("value", "low", "high")},
                "n": share.recovered.n,
                "seeds": list(share.recovered.seeds),
                "over": share.over,
                "how": "Fieller",
            }
            for share in made.shares
        ],
        "overall": overall
        and {"how": overall.how, "arms": overall.arms, "n": overall.n, "statistic": overall.statistic, "p": overall.p},
        "notes": list(made.notes),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
