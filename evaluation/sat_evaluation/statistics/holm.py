"""Holm's correction of p-values for the number of tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sat_core.errors import DataError


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values that are adjusted for their number (Holm 1979).

    If those below 5 % are called differences, the chance of one or more false ones among all is at most 5 %, whatever
    depends on what.

    Args:
        p_values: Of all tests that are made, in [0, 1].

    Raises:
        DataError: A value is outside of [0, 1].

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, np.float64).reshape(-1)
    if not ((p >= 0) & (p <= 1)).all():
        raise DataError(f"holm: expected p-values in [0, 1], got {p[~((p >= 0) & (p <= 1))][0]}")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return [float(value) for value in adjusted]
