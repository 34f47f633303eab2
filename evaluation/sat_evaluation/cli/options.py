"""Arguments that several commands share, and what they mean."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_debug(command: argparse.ArgumentParser) -> None:
    """--debug after the command, too."""
    command.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks")


def add_computing(command: argparse.ArgumentParser) -> None:
    """What computes."""
    command.add_argument("--backend", help="torch or tensorflow (default: SAT_BACKEND, else torch)")
    command.add_argument("--device", default="cpu", help="cpu, cuda, cuda:N (default cpu)")
    add_debug(command)


def add_running(command: argparse.ArgumentParser) -> None:
    """Where results go and how arms run; `running` reads it."""
    command.add_argument("--out", required=True, help="folder for the results; the same command goes on with them")
    command.add_argument("--jobs", type=int, help="arms at a time (default: as many as cores; 1 on a GPU)")
    command.add_argument("--save-every", type=float, default=20.0, metavar="S", help="seconds between saves (20)")
    command.add_argument(
        "--reuse",
        nargs="+",
        type=Path,
        default=[],
        metavar="DIR",
        help="take finished arms that are the same from here",
    )
    add_computing(command)


def add_settings(command: argparse.ArgumentParser, help: str) -> None:
    """--set, several times."""
    command.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help=help)


def running(arguments: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of `sat_evaluation.study.run_study`; SpecError."""
    from sat_core.errors import SpecError

    if arguments.jobs is not None and arguments.jobs < 1:
        raise SpecError(f"--jobs: expected an integer >= 1, got {arguments.jobs}")
    if not arguments.save_every >= 0:
        raise SpecError(f"--save-every: expected seconds >= 0, got {arguments.save_every}")
    return {key: getattr(arguments, key) for key in ("backend", "device", "jobs", "save_every", "reuse")}
