"""`sat run` and `sat transfer`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from sat_evaluation.cli.options import add_import, add_running, add_settings, add_yes, confirmation, running

if TYPE_CHECKING:
    from sat_core.study import Study

_RUN = "Run every arm of a study; results, plots and checkpoints go to --out."
_TRANSFER = "Train a head for another data set on the frozen features of finished runs, and attack it (S-CSAT, S-ESAT)."


def add(commands: Any) -> None:
    """Add the commands and their arguments."""
    run = commands.add_parser("run", help="run a study: rank, split, train, evaluate, summarise", description=_RUN)
    run.add_argument("study", help="study file (TOML)")
    add_settings(run, "override a key")
    add_import(run)
    run.add_argument("--dry-run", action="store_true", help="print arms and cost, look at data and models, and stop")
    add_yes(run)
    run.add_argument("--print-command", action="store_true", help="print the torchrun command of each arm, and stop")
    run.set_defaults(run=_run)
    transfer = commands.add_parser("transfer", help="a head for another task on frozen features", description=_TRANSFER)
    transfer.add_argument("source", help="folder of a finished arm, or of a study, all of whose arms are taken")
    transfer.add_argument("--data", required=True, help="the target, any data set; its images are scaled to fit")
    add_settings(transfer, "as epochs=20")
    add_import(transfer)
    transfer.set_defaults(run=_transfer)
    for command in (run, transfer):
        add_running(command)


def _run(arguments: argparse.Namespace) -> int:
    from sat_core.plugins import PLUGINS
    from sat_core.run_folder import RunFolder
    from sat_core.study import Study
    from sat_core.tables import parse_setting
    from sat_evaluation.cli.cost_lines import print_cost, whole_plan
    from sat_evaluation.cli.live_view import Terminal
    from sat_evaluation.cli.summary import print_summary, print_transfers
    from sat_evaluation.plan.facts import facts_of
    from sat_evaluation.plan.units import study_units
    from sat_evaluation.run.studies import check_study, run_study

    study = Study.load(arguments.study).set(dict(map(parse_setting, arguments.settings)))
    if arguments.imports:  # by the processes of the arms, too
        study = study.set({PLUGINS: [*study.settings.get(PLUGINS, ()), *arguments.imports]})
    options = {**running(arguments), "view": Terminal()}
    if arguments.dry_run:
        # errors come before anything is printed
        cost = whole_plan([study_units(study, facts_of(study.base.data.name))], arguments)
        check_study(study, arguments.out, **options)
        print_arms(study)
        print_cost(*cost)
        return 0
    if arguments.print_command:
        _print_commands(study, arguments, options)
        return 0
    lines: list[str] = []
    results = run_study(study, arguments.out, confirm=confirmation(arguments), tell=lines.append, **options)
    print_summary(results, RunFolder(arguments.out))
    print_transfers(study, RunFolder(arguments.out))
    for line in lines:
        print(line)
    return 0


def _print_commands(study: Study, arguments: argparse.Namespace, options: dict[str, Any]) -> None:
    from sat_core.errors import SpecError
    from sat_core.run_folder import RANKING
    from sat_evaluation.run.studies import study_commands

    if arguments.executor != "local":
        raise SpecError("--print-command: Slurm starts arms on several nodes itself; leave one of the two out")
    commands = study_commands(study, arguments.out, **options)
    executor = options["executor"]
    where = f"on each of the {executor.nodes} machines, HOST being the first" if executor.nodes > 1 else "here"
    first = ", the ranking first" if any(f" {RANKING} " in command for command in commands) else ""
    left_out = "--print-command and --nodes" if executor.nodes > 1 else "--print-command"
    print(f"# {len(commands)} to run {where}{first}; then the same command without {left_out} sums up")
    print("\n".join(commands))


def _transfer(arguments: argparse.Namespace) -> int:
    from sat_core.run_folder import RunFolder
    from sat_core.tables import parse_setting
    from sat_evaluation.cli.live_view import Terminal
    from sat_evaluation.cli.summary import print_summary
    from sat_evaluation.run.studies import run_transfer

    # with or without the name of the table that they have in a study file
    settings = {key.removeprefix("transfer."): value for key, value in map(parse_setting, arguments.settings)}
    options = {**running(arguments), "view": Terminal(), "settings": settings}
    results = run_transfer(arguments.source, arguments.data, arguments.out, **options)
    print_summary(results, RunFolder(arguments.out))
    return 0


def print_arms(study: Study) -> None:
    """Print all settings of a study and the names of its arms."""
    from sat_evaluation.results.text import shown

    print(study.dumps())
    print(
        "\n".join(
            [
                f"# arms: {len(study.arms)}",
                *(
                    f"# {arm.name}{arm.full and f' = {arm.full}'}"
                    # without the key, all arms have what the settings above say
                    + (f", {shown(arm.spec.evaluation.attacks)}" if study.report_arms is not None else "")
                    for arm in study.arms
                ),
            ]
        )
    )
