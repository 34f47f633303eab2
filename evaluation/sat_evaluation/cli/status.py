"""`sat status`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sat_evaluation.cli.options import add_debug, add_import

_STATUS = "How far every arm is, from another terminal or the next day: what is finished, runs, is queued, or failed."


def add(commands: Any) -> None:
    """Add the command and its arguments."""
    command = commands.add_parser("status", help="how far the arms of a study are", description=_STATUS)
    command.add_argument("folder", type=Path, help="of a study, of a transfer, or of a reproduction")
    command.add_argument("--all", action="store_true", help="every arm, however many there are")
    add_import(command)
    add_debug(command)
    command.set_defaults(run=_status)


def _status(arguments: argparse.Namespace) -> int:
    from sat_evaluation.cli.status_table import print_state

    print_state(arguments.folder, all_units=arguments.all)
    return 0
