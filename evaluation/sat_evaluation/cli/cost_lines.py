"""What dry runs print of the cost of their studies."""

from __future__ import annotations

import argparse
from collections.abc import Hashable, Iterable, Sequence

from sat_evaluation.cli.lines import wrapped
from sat_evaluation.plan.plan import Plan, plan_units
from sat_evaluation.plan.sources import Planning, planning
from sat_evaluation.plan.units import UnitWork, without_repeats
from sat_evaluation.plan.words import assumed_lines, summary


def print_cost(plan: Plan, made: Planning) -> None:
    """Print what studies cost together, by their plan and how it was made."""
    from rich.console import Console

    width = Console().width - len("# ")
    for line in (*assumed_lines(plan), *summary(plan), *made.notes):
        print(*(f"# {part}" for part in wrapped(line, width)), sep="\n")


def whole_plan(
    studies: Sequence[Sequence[UnitWork]], arguments: argparse.Namespace, finished: Iterable[UnitWork] = ()
) -> tuple[Plan, Planning]:
    """Return the plan of the units of several studies, each of which is run once, by the options of the command.

    Args:
        studies: The units of each study.
        arguments: Of the command.
        finished: Those among them that are finished already, and with them their equals in other studies.
    """
    from sat_evaluation.run.executors.local import Local

    seen: set[Hashable] = set()
    without_repeats(list(finished), seen)
    units = [unit for study in studies for unit in without_repeats(study, seen)]
    here, threads = arguments.executor == "local", max((unit.spec.training.threads for unit in units), default=1)
    per_device = arguments.jobs_per_device or 1
    local = Local(jobs=arguments.jobs, devices=arguments.devices, jobs_per_device=per_device) if here else None
    jobs = len(local.slots(arguments.device, threads)) if local else arguments.jobs or 1
    made = planning(backend=arguments.backend, device=arguments.device, jobs=jobs, here=here)
    return plan_units(units, made.rates, jobs=made.jobs), made
