"""Accuracies of an arm by their name, also those that follow from others."""

from __future__ import annotations

from collections.abc import Sequence

from sat_core.accuracy import Accuracy
from sat_core.robustness import defence_rate
from sat_evaluation.results.rows import Row

DEFENCE = "defence"
"""Name of the defence rate; on A and on B it ends in ``_a`` and ``_b``."""


def measured(row: Row, name: str) -> Accuracy | None:
    """Return an accuracy of an arm; None where it has none.

    Args:
        row: The arm.
        name: Field of `Row`, such as ``robust_b``, or ``defence``, ``defence_a`` or ``defence_b``.
    """
    accuracy: Accuracy | None
    if not name.startswith(DEFENCE):
        accuracy = getattr(row, name)
        return accuracy
    part = name.removeprefix(DEFENCE)
    clean, robust = (getattr(row, f"{kind}{part}") for kind in ("clean", "robust"))
    return _defence(clean, robust)


def measured_over(row: Row, name: str, classes: Sequence[int]) -> float | None:
    """Return a share on the test images of some classes, None without any; name: `robust`, `clean` or `defence`."""
    if name != DEFENCE:
        return row.over(name, classes)
    clean, robust = row.over("clean", classes), row.over("robust", classes)
    return None if not clean or robust is None else min(1.0, robust / clean)


def defence_by_class(row: Row) -> tuple[Accuracy | None, ...]:
    """Return the defence rate on each class; None where it has no test image, or none is correctly classified."""
    clean, robust = (each.per_class or () for each in (row.results.clean, row.results.robust))
    return tuple(_defence(*pair) for pair in zip(clean, robust, strict=True))


def _defence(clean: Accuracy | None, robust: Accuracy | None) -> Accuracy | None:
    return None if clean is None or robust is None else defence_rate(clean, robust)
