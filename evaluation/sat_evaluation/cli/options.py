"""Arguments that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sat_evaluation.run.executors.base import Executor
    from sat_evaluation.run.expected import Confirm

_SLURM = ("partition", "account", "time", "gpus", "memory", "slurm", "detach")


def add_debug(command: argparse.ArgumentParser) -> None:
    """Add --debug, which is then allowed after the command, too."""
    # SUPPRESS: with a default of its own, the command would undo `sat --debug COMMAND`
    command.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks")


def add_import(command: argparse.ArgumentParser) -> None:
    """Add --import, which can be given several times; `main` imports the modules before the command runs."""
    command.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module of yours with rules, losses, ... that the study names (docs/plug-ins.md)",
    )


def add_computing(command: argparse.ArgumentParser) -> None:
    """Add the backend and its device."""
    command.add_argument("--backend", help="torch or tensorflow (default: SAT_BACKEND, else torch)")
    command.add_argument("--device", default="cpu", help="cpu, cuda, cuda:N (default cpu)")
    add_debug(command)


def add_running(command: argparse.ArgumentParser) -> None:
    """Add where results go and how arms run; `running` reads these arguments."""
    command.add_argument("--out", required=True, help="folder for the results; the same command goes on with them")
    command.add_argument("--jobs", type=int, help="arms at a time (default: one per GPU, else as many as cores)")
    command.add_argument("--devices", type=int, default=1, metavar="N", help="of each arm, which share its batches (1)")
    command.add_argument("--nodes", type=int, default=1, help="machines of each arm, with N devices each (1)")
    command.add_argument("--jobs-per-device", type=int, metavar="K", help="arms that share one GPU (1)")
    command.add_argument("--save-every", type=float, default=20.0, metavar="S", help="seconds between saves (20)")
    command.add_argument(
        "--track",
        dest="trackers",
        action="append",
        default=[],
        metavar="TRACKER",
        help="tell tensorboard, mlflow, wandb or trackio of each arm; several times for several",
    )
    command.add_argument(
        "--reuse",
        nargs="+",
        type=Path,
        default=[],
        metavar="DIR",
        help="take finished arms that are the same from here",
    )
    add_computing(command)
    add_slurm(command)


def add_slurm(command: argparse.ArgumentParser) -> None:
    """Add where it runs, and the options of Slurm; `slurm_options` reads them."""
    command.add_argument("--executor", choices=("local", "slurm"), default="local", help="this machine, or Slurm's")
    group = command.add_argument_group("with --executor slurm", "The folder must be on a disk that its machines share.")
    group.add_argument("--partition", help="as for sbatch")
    group.add_argument("--account", help="as for sbatch")
    group.add_argument("--time", help="limit of a job, where it saves and is requeued: minutes or D-HH:MM:SS (240)")
    group.add_argument("--gpus", type=int, help="on each node (default: N with --device cuda; 0: none asked for)")
    group.add_argument("--memory", help="on each node, as 16G")
    group.add_argument("--slurm", action="append", metavar="KEY=VALUE", help="any other option of sbatch")
    # None unless given: `slurm_options` refuses these options with another executor
    group.add_argument("--detach", action="store_true", default=None, help="submit and return")


def add_yes(command: argparse.ArgumentParser) -> None:
    """Add --yes, which `confirmation` reads."""
    command.add_argument(
        "--yes", action="store_true", help="start without a question, however long it is expected to take"
    )


def confirmation(arguments: argparse.Namespace) -> Confirm | None:
    """Return what asks before a long run; None with --yes.

    Without a terminal nobody can be asked: the run says so in a line and goes on, as a batch job has to.
    """
    return None if arguments.yes else _ask


def _ask(line: str) -> bool:
    import sys

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        print(f"note: {line}; it starts without a question, as there is no terminal", file=sys.stderr)
        return True
    try:
        return input(f"{line}\nstart? [y/N] ").strip().lower() in ("y", "yes")
    except (EOFError, KeyboardInterrupt):  # Ctrl-D, Ctrl-C: nothing has begun that could be continued
        print()
        return False


def add_settings(command: argparse.ArgumentParser, help: str) -> None:
    """Add --set, which can be given several times."""
    command.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help=help)


def running(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return keyword arguments of `sat_evaluation.run.studies.run_study`; SpecError for an option that is wrong."""
    from sat_evaluation.run.ranks import refuse_rank

    refuse_rank()
    return {
        **{key: getattr(arguments, key) for key in ("backend", "device", "reuse")},
        "executor": _executor(arguments),
    }


def _executor(arguments: argparse.Namespace) -> Executor:
    from sat_core.errors import SpecError
    from sat_evaluation.run.executors.local import Local
    from sat_evaluation.run.executors.slurm import Slurm

    common = {key: getattr(arguments, key) for key in ("jobs", "save_every", "devices", "nodes")}
    common["trackers"] = tuple(arguments.trackers)
    options = slurm_options(arguments)
    if arguments.executor == "local":
        per_device = 1 if arguments.jobs_per_device is None else arguments.jobs_per_device
        return Local(**common, jobs_per_device=per_device)
    if arguments.jobs_per_device is not None:
        raise SpecError("--jobs-per-device: for --executor local only")
    return Slurm(**common, **options)


def slurm_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return keyword arguments of `Slurm` that were given; SpecError if there are any without --executor slurm."""
    from sat_core.errors import SpecError
    from sat_evaluation.run.executors.slurm import minutes

    options = {key: getattr(arguments, key) for key in _SLURM if getattr(arguments, key) is not None}
    if options and arguments.executor == "local":
        raise SpecError(f"--{next(iter(options))}: for --executor slurm only")
    if "time" in options:
        options["minutes"] = minutes(options.pop("time"))
    pairs = [text.partition("=") for text in options.pop("slurm", ())]
    return {**options, "more": {key: value if equals else True for key, equals, value in pairs}}
