"""What of a study fits into some hours, or into a share of full AT's cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import attrs

from sat_core.errors import SpecError
from sat_core.report_arms import REPORT_ARMS
from sat_core.seeds import SEEDS, TRAINING_SEED
from sat_core.spec import Spec
from sat_core.study import Study
from sat_core.tables import flatten, lists
from sat_evaluation.plan.own_curves import with_own
from sat_evaluation.plan.planner import Option, Proposal, candidates, propose
from sat_evaluation.plan.published_curves import published_evidence
from sat_evaluation.results.text import shown

_CHOSEN = ("subset.size", TRAINING_SEED)
"""Keys of a grid that the planner chooses itself."""


def propose_for(
    study: Study,
    price: Callable[[Study], float | None],
    *,
    classes: int,
    hours: float | None = None,
    of_full_at: float | None = None,
    curves: Sequence[str | Path] = (),
    evaluations: Callable[[Study], float] | None = None,
) -> Proposal:
    """Return what of a study fits: plain training, full AT and one |A|, chosen as its first arm with a subset does it.

    Args:
        study: Gives everything but |A|, seeds and the level of the evaluation that reports. Of its grid, every other
            key has the value of that arm.
        price: Returns the hours of a study; None where they are not known.
        classes: Number of classes of the data.
        hours: The budget.
        of_full_at: Share of full AT's gradient evaluations that the arm may take.
        curves: Folders of own finished runs, which count beside what is published.
        evaluations: Returns how often a study evaluates a network, for `Option.evaluations`.

    Raises:
        SpecError: A is listed by hand, or see `propose`.
        RunDirectoryError: See `sat_evaluation.plan.own_curves.with_own`.
    """
    spec = _subset_arm(study)
    fixed = _fixed(study, spec)
    target = study.transfer["targets"][0] if study.transfer else ""
    level_keys = ("evaluation.attacks", *(["transfer.attacks"] if target else []))
    strategy = spec.subset.strategy
    evidence = published_evidence(spec, strategy, target)
    if curves:
        evidence = with_own(evidence, curves, spec, strategy, target)
    if fixed:
        kept = ", ".join(f"{key} = {shown(value)}" for key, value in fixed.items())
        evidence = attrs.evolve(evidence, notes=(f"of the grid, one value of each key counts: {kept}", *evidence.notes))

    def chosen(share: float | None, seeds: int, level: str) -> Study:
        sizes = [0.0, 1.0] if share is None else [0.0, share, 1.0]
        return study.set({**fixed, "subset.size": sizes, SEEDS: seeds, **dict.fromkeys(level_keys, level)})

    @cache
    def cost(share: float | None, seeds: int, level: str) -> float | None:
        return price(chosen(share, seeds, level))

    def counted(option: Option) -> Option:
        if evaluations is None:
            return option
        of_all, baselines = (chosen(share, option.seeds, option.level) for share in (option.share, None))
        return attrs.evolve(option, evaluations=evaluations(of_all), baseline_evaluations=evaluations(baselines))

    shares = candidates(spec.subset.kind, classes)
    made = propose(cost, evidence, shares, hours=hours, of_full_at=of_full_at, attack=spec.attack)
    return attrs.evolve(
        made,
        options=tuple(map(counted, made.options)),
        recommended=counted(made.recommended),
        enough=None if made.enough is None else counted(made.enough),
        fixed=fixed,
        level_keys=level_keys,
    )


def _subset_arm(study: Study) -> Spec:
    """The first arm whose A is a proper subset; of a study that has only baselines, the first with full AT."""
    specs = [arm.spec for arm in study.arms]
    if any(spec.subset.strategy == "listed" for spec in specs):
        raise SpecError(
            "subset.classes: a planner chooses |A| itself, expected a strategy, got classes listed by hand\n"
            "set subset.strategy and subset.size, or plan the study without --hours and --of-full-at"
        )
    return next((spec for spec in specs if spec.subset.size not in (0, 1.0)), specs[-1])


def _fixed(study: Study, spec: Spec) -> dict[str, Any]:
    values = flatten(spec.to_tables())
    varied = {key: choices[0] for grid in reversed(study.grids) for key, choices in grid.items() if key not in _CHOSEN}
    # a level in a grid stands for two keys, and is none of the spec's
    fixed = {key: lists(values.get(key, first)) for key, first in varied.items()}
    if study.report_arms is not None:
        fixed[REPORT_ARMS] = ["*"]  # the names of arms are others
    return fixed
