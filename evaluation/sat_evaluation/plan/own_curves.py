"""Curves over |A| of finished runs, as evidence of what another study will recover."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean, variance

import attrs

from sat_core.errors import RunDirectoryError
from sat_core.run_folder import one_run
from sat_core.spec import Spec
from sat_evaluation.plan.recovery import Evidence, RecoveryCurve
from sat_evaluation.results.curves import Group, Series, series
from sat_evaluation.results.rows import Row, collect
from sat_evaluation.results.text import public_name


def with_own(evidence: Evidence, runs: Sequence[str | Path], spec: Spec, strategy: str, target: str = "") -> Evidence:
    """Return the evidence with curves of finished runs.

    Those of the planned data set and threat model are measurements of it, those of others are further data sets.

    Args:
        evidence: The published curves.
        runs: Folders of studies or transfers, each with both baselines.
        spec: Settings of an arm of the planned study.
        strategy: How A is chosen there.
        target: Of a transfer, its target.

    Raises:
        RunDirectoryError: A folder has no finished curve of that strategy with both baselines.
        DataError: Results are damaged, or full AT of a run is no more robust than plain training.
    """
    same, others = [*evidence.same], [*evidence.others]
    for path in runs:
        folder = one_run(Path(path))
        rows = collect(arm.own_results() for arm in folder.arms if arm.has_results)
        for curve, first in own_curves(rows, str(path), spec.subset.kind, strategy):
            alike = first.spec["attack.norm"] == spec.attack.norm and first.spec["attack.eps"] == spec.attack.eps
            here = alike and first.data == (target or spec.data.name) and bool(first.source) == bool(target)
            (same if here else others).append(curve)
    notes = [*evidence.notes]
    if len(same) > len(evidence.same):
        notes.append("own runs of this data set weigh the more, the more test images and seeds they have")
    if len(others) > len(evidence.others):
        notes.append("own runs of another data set, or another threat model, count as one more data set each")
    return attrs.evolve(evidence, same=tuple(same), others=tuple(others), notes=tuple(notes))


def own_curves(rows: Iterable[Row], name: str, kind: str, strategy: str) -> list[tuple[RecoveryCurve, Row]]:
    """Return the curves of a strategy among the arms of a run, each with a row of it.

    Args:
        rows: Finished arms.
        name: Of the run, for errors.
        kind: ``classes`` or ``examples``.
        strategy: How A is chosen.

    Raises:
        RunDirectoryError: There is none with both baselines.
        DataError: Full AT is no more robust than plain training.
    """
    alike = [s for s in series([*rows]) if s.chosen == strategy and s.groups[0].rows[0].kind == kind]
    whole = [(s, s.plain, s.full) for s in alike if s.plain is not None and s.full is not None]
    if not whole:
        what = "arms of that strategy, but not both baselines" if alike else "none"
        raise RunDirectoryError(
            f"{name}: expected finished arms whose A is made of the {strategy} {kind}, with plain training and full "
            f"AT, got {what}\nfinish them there, or leave the run out"
        )
    return [(_curve(s, plain, full), s.groups[0].rows[0]) for s, plain, full in whole]


def _curve(arms: Series, plain: Group, full: Group) -> RecoveryCurve:
    row = arms.groups[0].rows[0]
    (low, of_low), (high, of_high) = _mean(plain), _mean(full)
    means = [_mean(group) for group in arms.groups]
    errors = []
    for robust, variance_of_mean in means:
        recovered = (robust - low) / max(high - low, 1e-9)
        # of the quotient, to first order
        squared = variance_of_mean + recovered**2 * of_high + (1 - recovered) ** 2 * of_low
        errors.append(squared**0.5 / max(high - low, 1e-9))
    task = " → ".join(public_name(name) for name in (row.source, row.data) if name)
    return RecoveryCurve(
        name=task,
        source="own run",
        shares=tuple(group.rows[0].share for group in arms.groups),
        robust=tuple(robust for robust, _ in means),
        plain=low,
        full=high,
        errors=tuple(errors),
        own=True,
    )


def _mean(group: Group) -> tuple[float, float]:
    """Mean robust accuracy over seeds, and its variance over test images and, where there are several, seeds."""
    values = [row.robust.value for row in group.rows]
    mean = fmean(values)
    between = variance(values) / len(values) if len(values) > 1 else 0.0
    # seeds have the same test images, which more seeds do not make more
    return mean, mean * (1 - mean) / group.rows[0].n + between
