"""The part of `sat plan` that turns the question around: what fits into some hours, or a share of full AT."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sat_core.study import Study
    from sat_evaluation.plan.plan import Plan
    from sat_evaluation.plan.planner import Proposal


def add_bounds(command: argparse.ArgumentParser) -> None:
    """Add --hours, --of-full-at and --curves."""
    group = command.add_argument_group(
        "what fits", "With these, the |A|, seeds and level of evaluation that fit, and what A is expected to recover."
    )
    group.add_argument("--hours", type=float, metavar="H", help="for everything, the baselines and the ranking too")
    group.add_argument("--of-full-at", metavar="P%", help="gradient evaluations of full AT that A may take, as 50%%")
    group.add_argument(
        "--curves",
        nargs="+",
        type=Path,
        default=[],
        metavar="RUN",
        help="finished runs that count beside what is published",
    )


def proposal(
    study: Study,
    plan: Callable[[Study], Plan],
    *,
    hours: float | None,
    of_full_at: str | float | None,
    curves: Sequence[str | Path] = (),
    name: Callable[[str], str] = lambda key: key,
) -> Proposal | None:
    """Return what of a study fits; None if there is no bound. SpecError for a bound that is wrong.

    Args:
        study, curves: As in `sat_evaluation.plan.study_planner.propose_for`.
        plan: Returns what a study costs.
        hours: The budget, or None.
        of_full_at: ``"50%"`` or 0.5, or None.
        name: Returns what an argument is called in errors.
    """
    from sat_core.errors import SpecError
    from sat_evaluation.plan.facts import facts_of
    from sat_evaluation.plan.planner import parse_share
    from sat_evaluation.plan.study_planner import propose_for

    if hours is None and of_full_at is None:
        if curves:
            raise SpecError(
                f"{name('curves')}: expected {name('hours')} or {name('of_full_at')} beside it, got neither"
            )
        return None
    try:
        return propose_for(
            study,
            lambda each: plan(each).hours,
            classes=facts_of(study.base.data.name).classes,
            hours=hours,
            of_full_at=None if of_full_at is None else parse_share(of_full_at),
            curves=curves,
            evaluations=lambda each: plan(each).evaluations,
        )
    except SpecError as error:
        key, colon, rest = str(error).partition(":")
        raise SpecError(f"{name(key)}{colon}{rest}" if key in ("hours", "of_full_at") else str(error)) from error


def option(key: str) -> str:
    """Return the option of the command that is called ``key`` in Python."""
    return f"--{key.replace('_', '-')}"
