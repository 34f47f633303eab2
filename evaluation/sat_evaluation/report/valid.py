"""What a result has to be before it is shown: files may be cut, edited, or of another version or arm."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from sat_core.accuracy import Accuracy
from sat_core.errors import DataError
from sat_evaluation.results.rows import Row, collect


def checked(result: Any, name: str) -> Row:
    """The row of the arm called `name`; DataError says which field is not as a finished arm has it."""
    (row,) = collect([result])
    for field, fine in _fields(result, row, name):
        if not fine:
            raise DataError(
                f"{field}: not as a finished arm has it; another version or arm wrote it, or it was changed"
            )
    return row


def _fields(result: Mapping[str, Any], row: Row, name: str) -> Iterator[tuple[str, bool]]:
    yield "arm", row.arm == name
    yield "spec", {"training.seed", "weighting.rule", "model.name"} <= row.spec.keys()
    for field in ("clean", "robust", "clean_a", "clean_b", "robust_a", "robust_b"):
        yield f"{field} accuracy", _accuracy(getattr(row, field))
    yield "accuracy per class", all(value is None or _share(value) for value in row.per_class)
    yield "n", isinstance(row.n, int) and row.n > 0
    yield "split", _share(row.share) and isinstance(row.size, int) and 0 <= row.size <= row.total
    yield "classes", all(isinstance(c, int) and 0 <= c < len(row.class_names) for c in row.classes)
    yield "cost", _number(row.cost) and _number(row.seconds) and _number(row.ranking_gradients)
    yield "losses", _all(result.get("losses"), _number)
    yield "warnings", _all(result.get("warnings", []), str) and _all(result["attacks"].get("warnings"), str)
    yield "versions", _all(_values(result.get("versions")), str)
    yield "seeds", isinstance(result.get("seeds"), dict)
    yield "device", isinstance(result.get("device"), str)
    yield "data", _all([result["data"].get(key) for key in ("train", "test")], int)
    yield "breakdown", all(isinstance(a.get("broken"), int) for a in result["attacks"]["breakdown"])
    yield "checks", _all(result["selection"].get("checks"), _check)


def _values(table: Any) -> Any:
    return list(table.values()) if isinstance(table, dict) else None


def _all(values: Any, kind: Any) -> bool:
    def fine(value: Any) -> bool:
        return isinstance(value, kind) if isinstance(kind, type) else bool(kind(value))

    return isinstance(values, list) and all(map(fine, values))


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _share(value: Any) -> bool:
    return _number(value) and 0 <= value <= 1


def _accuracy(found: Accuracy | None) -> bool:
    return found is None or all(map(_share, (found.value, found.low, found.high)))


def _check(check: Any) -> bool:
    kinds = ("robust_accuracy", "clean_accuracy")
    return isinstance(check["epoch"], int) and all(_share(check[kind]["all"]["value"]) for kind in kinds)
