"""`sat plan`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sat_evaluation.cli.options import add_computing, add_import, add_settings
from sat_evaluation.cli.proposal import add_bounds, option, proposal

if TYPE_CHECKING:
    from sat_core.study import Study
    from sat_evaluation.plan.plan import Plan
    from sat_evaluation.plan.planner import Proposal
    from sat_evaluation.plan.sources import Planning

_PLAN = "What a study costs before it runs: gradient evaluations, FLOPs, hours and memory of each training and in all."


def add(commands: Any) -> None:
    """Add the command and its arguments."""
    plan = commands.add_parser("plan", help="what a study costs, before it runs", description=_PLAN)
    plan.add_argument("study", help="study file (TOML)")
    add_settings(plan, "override a key")
    plan.add_argument(
        "--measure", action="store_true", help="measure this device first, in less than a minute, and keep it"
    )
    plan.add_argument(
        "--card", default="", metavar="GPU", help="by the table of cards, as A100, in place of this device"
    )
    plan.add_argument("--jobs", type=int, help="arms at a time (default: one per GPU, else as many as cores)")
    plan.add_argument("--json", action="store_true", help="print the plan, or what fits, as JSON")
    add_bounds(plan)
    add_import(plan)
    add_computing(plan)
    plan.set_defaults(run=_plan)


def _plan(arguments: argparse.Namespace) -> int:
    from sat_core.study import Study
    from sat_core.tables import parse_setting

    study = Study.load(arguments.study).set(dict(map(parse_setting, arguments.settings)))
    made = make_planning(
        study,
        backend=arguments.backend,
        device=arguments.device,
        jobs=arguments.jobs,
        card=arguments.card,
        measure=arguments.measure,
    )
    bounds = {key: getattr(arguments, key) for key in ("hours", "of_full_at", "curves")}
    fitting = proposal(study, made.study, name=option, **bounds)
    if fitting is not None:
        if arguments.json:
            import json

            from sat_evaluation.plan.proposal_json import proposal_json

            print(json.dumps(proposal_json(fitting), indent=2))
            return 0
        from sat_evaluation.cli.proposal_table import print_proposal

        plan = made.study(study.set(fitting.settings(fitting.recommended)))
        print_proposal(fitting, arguments.study, plan, given=_given(arguments, fitting))
        print_notes(made)
        return 0
    plan = made.study(study)
    if arguments.json:
        import json

        print(json.dumps(plan.to_json(), indent=2))
        return 0
    from sat_evaluation.cli.plan_table import print_plan

    print_plan(plan, f"{arguments.study}")
    print_notes(made)
    return 0


def _given(arguments: argparse.Namespace, fitting: Proposal) -> list[str]:
    """Return the options that a run of what fits needs beside its own settings, which come after these."""
    from sat_core.tables import parse_setting

    chosen = fitting.settings(fitting.recommended)
    settings = [text for text in arguments.settings if parse_setting(text)[0] not in chosen]
    words = [word for text in settings for word in ("--set", text)]
    words += [word for module in arguments.imports for word in ("--import", module)]
    words += ["--backend", arguments.backend] if arguments.backend else []
    # a card is not this machine's device
    return words + (["--device", arguments.device] if arguments.device != "cpu" and not arguments.card else [])


def print_notes(made: Planning) -> None:
    """Print what a planning has to say, as of a damaged cache."""
    for note in made.notes:
        print(note)


def make_planning(
    study: Study,
    *,
    backend: str | None = None,
    device: str = "cpu",
    jobs: int | None = None,
    card: str = "",
    measure: bool = False,
) -> Planning:
    """Return how a study is planned here; with `measure`, the device is measured first."""
    from sat_core.backend import device_number
    from sat_evaluation.plan.sources import planning
    from sat_evaluation.run.executors.local import Local

    device_number(device)  # for its error
    # a card that is not here is one card
    side = (jobs or 1) if card else len(Local(jobs=jobs).slots(device, study.base.training.threads))
    measured = None
    if measure:
        from sat_evaluation.plan.measure import measured_rates

        measured = measured_rates(study, backend, device)
    return planning(backend=backend, device=device, jobs=side, card=card, measured=measured)


def plan_here(
    study: Study,
    *,
    hours: float | None = None,
    of_full_at: str | float | None = None,
    curves: Sequence[str | Path] = (),
    **options: Any,
) -> Plan | Proposal:
    """Return the plan of a study on this machine, or what fits into a bound; a `sat_core.runner.Planner`."""
    made = make_planning(study, **options)
    fitting = proposal(study, made.study, hours=hours, of_full_at=of_full_at, curves=curves)
    return made.study(study) if fitting is None else fitting
