"""Accuracies after each epoch of the trainings, as values: how far robustness is lost again (robust overfitting)."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import final

import attrs

from sat_evaluation.figures.arm_labels import arm_label, seeds_of
from sat_evaluation.results.curves import Group, group, varied
from sat_evaluation.results.rows import Row
from sat_evaluation.results.text import epsilon

LEAST = 4
"""Epochs with a measurement, of which a curve says anything."""


@final
@attrs.frozen(kw_only=True)
class OverfittingCurve:
    """Accuracies of arms over the epochs, means over their seeds, in [0, 1].

    Attributes:
        group: The arms.
        label: The arms in words.
        epochs: Those that were measured in all seeds, ascending, from 1.
        robust, clean: Accuracies after each of them.
        chosen: The epochs that were picked, one of each seed.
        n: Images that were measured.
        attacks: By which they were, in words.
    """

    group: Group
    label: str
    epochs: tuple[int, ...]
    robust: tuple[float, ...]
    clean: tuple[float, ...]
    chosen: tuple[int, ...]
    n: int
    attacks: str

    @property
    def lost(self) -> float:
        """Highest robust accuracy minus that of the last epoch, in [0, 1]: what overfitting cost."""
        return max(self.robust) - self.robust[-1]


def overfitting_curves(rows: Sequence[Row]) -> list[OverfittingCurve]:
    """Return a curve of each group of seeds that was measured after `LEAST` epochs or more.

    It is made of what `evaluation.watch` saw after each epoch, or else of the checks that chose the epoch.

    Args:
        rows: Arms of a study.
    """
    keys = varied(rows)
    curves = (_curve(g, keys) for g in group(rows))
    return [curve for curve in curves if len(curve.epochs) >= LEAST]


def _curve(g: Group, keys: Sequence[str]) -> OverfittingCurve:
    by_seed = [_measured(row) for row in g.rows]
    epochs = sorted(set(by_seed[0][0]).intersection(*(values for values, _, _ in by_seed)))
    means = [tuple(fmean(values[e][k] for values, _, _ in by_seed) for e in epochs) for k in range(2)]
    return OverfittingCurve(
        group=g,
        label=arm_label(g.rows[0], keys) + seeds_of(g),
        epochs=tuple(epochs),
        robust=means[0],
        clean=means[1],
        chosen=tuple(row.epoch for row in g.rows),
        n=min(n for _, n, _ in by_seed),
        attacks=by_seed[0][2],
    )


def _measured(row: Row) -> tuple[dict[int, tuple[float, float]], int, str]:
    """Robust and clean accuracy by epoch, of how many images, and by which attacks."""
    if (watch := row.results.watch) is not None:
        values = dict(enumerate(zip(watch.robust, watch.clean, strict=True), 1))
        return values, watch.examples, f"PGD-10 ({watch.norm}, ε = {epsilon(watch.eps)}) after each epoch"
    selection = row.results.selection
    attacks = selection.attacks
    words = f"AutoAttack {attacks}" if isinstance(attacks, str) else " + ".join(attacks)
    checks = {check.epoch: (check.robust.all.value, check.clean.all.value) for check in selection.checks}
    return checks, min(check.robust.all.n for check in selection.checks), f"{words}, the checks that choose the epoch"
