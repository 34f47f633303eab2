"""Settings in which arms are compared: arms with the same ones are points of one curve over |A|."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sat_core.arm_results import ArmResults
from sat_core.spec import KEYS
from sat_evaluation.results.baseline import Baseline

_NOT_COMPARED = ("training.seed", "subset.seed", "subset.size", "subset.classes")
_NOT_IN_FULL = ("subset.", "weighting.", "ranking.", "training.batches")
# Beginnings of keys. Norm and ε stay in both, as the threat model under which plain training is evaluated, too.
_NOT_IN_BASELINE: dict[Baseline | None, tuple[str, ...]] = {
    Baseline.PLAIN: (
        *_NOT_IN_FULL,
        *(key for key in KEYS if key.startswith("attack.") and key not in ("attack.norm", "attack.eps")),
        *("loss.kind", "loss.beta", "training.awp"),
    ),
    Baseline.FULL: _NOT_IN_FULL,
}
"""Settings that change nothing in a baseline: nothing is selected, and where A is empty nothing is attacked."""


def compared(spec: Mapping[str, Any], baseline: Baseline | None) -> dict[str, Any]:
    """Return the settings, by dotted key, on which an arm depends, without seeds and |A|.

    Args:
        spec: All settings, by dotted key.
        baseline: Which baseline the arm is.
    """
    ignored = _NOT_COMPARED + _NOT_IN_BASELINE.get(baseline, ())
    return {key: value for key, value in spec.items() if not key.startswith(ignored)}


def depends(key: str, baseline: Baseline | None) -> bool:
    """Return whether an arm depends on a setting: nothing of the attack changes anything where nothing is attacked.

    Args:
        key: Of the setting, dotted.
        baseline: Which baseline the arm is.
    """
    return not key.startswith(_NOT_IN_BASELINE.get(baseline, ()))


def full_costs(results: Iterable[ArmResults]) -> set[int]:
    """Return the gradient evaluations of full adversarial training, with each of the attacks that arms use.

    A clean arm uses none: the one in its settings is the default, whatever the others use. It counts where all are
    clean.
    """
    costs = [each.trained.cost for each in results]
    attacking = [cost for cost in costs if cost.attack_gradients]
    return {cost.full_at_gradients for cost in attacking or costs}
