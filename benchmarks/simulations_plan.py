"""Simulations of what a plan expects that A recovers (`sat_evaluation.plan.recovery`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from simulations_model import Row, row

from sat_evaluation.plan.recovery import Evidence, RecoveryCurve

_MEAN = 0.6
"""Of what data sets recover."""


def recovery_rows(rng: np.random.Generator, draws: int) -> Iterator[Row]:
    """A new data set, or a new training on a data set that was measured before."""
    for n, between in ((3, 0.03), (5, 0.1)):
        yield _row(f"{n} other data sets, which differ by {between}", rng, draws, n, between)
    for n, between, error in ((3, 0.02, 0.05), (3, 0.1, 0.02)):
        setting = f"{n} other data sets, which differ by {between}, and one measurement, ± {error}"
        yield _row(setting, rng, draws, n, between, error)


def covers(rng: np.random.Generator, n: int, between: float, error: float | None) -> bool:
    """Draw n data sets and a new one, and return whether what the new one recovers is in the interval for it.

    Args:
        between: Standard deviation between data sets.
        error: Of one measurement of the new data set, and of the new training on it; None if there is none.
    """
    *others, new = (_MEAN + between * rng.standard_normal(n + 1)).tolist()
    same: tuple[RecoveryCurve, ...] = ()
    if error is not None:
        same = (_curve(new + error * rng.standard_normal(), error),)
        new += error * rng.standard_normal()
    expected = Evidence(others=tuple(_curve(each, 0.02) for each in others), same=same).at(0.5)
    return expected.low is not None and expected.high is not None and expected.low <= new <= expected.high


def _curve(recovered: float, error: float) -> RecoveryCurve:
    return RecoveryCurve(name="simulated", shares=(0.5,), robust=(recovered,), full=1.0, errors=(error,))


def _row(setting: str, rng: np.random.Generator, draws: int, n: int, between: float, error: float | None = None) -> Row:
    covered = [covers(rng, n, between, error) for _ in range(draws)]
    reason = "what is expected is cut at 0 and 110 %" if between == 0.1 else ""
    return row("plan.recovery.Evidence.at", "coverage", setting, covered, reason=reason)


PARTS: tuple[Callable[[np.random.Generator, int], Iterator[Row]], ...] = (recovery_rows,)
