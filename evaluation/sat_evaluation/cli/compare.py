"""`sat compare`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sat_evaluation.cli.options import add_debug

_COMPARE = "Our numbers in the folder of `sat reproduce` beside the published ones."


def add(commands: Any) -> None:
    """Add the command and its arguments."""
    command = commands.add_parser("compare", help="reproduced numbers beside the published ones", description=_COMPARE)
    command.add_argument("folder", type=Path, help="--out of `sat reproduce`")
    command.set_defaults(run=_compare)
    add_debug(command)


def _compare(arguments: argparse.Namespace) -> int:
    from sat_core.run_folder import ReproductionFolder
    from sat_evaluation.cli.comparison_table import print_comparison

    print_comparison(ReproductionFolder(arguments.folder))
    return 0
