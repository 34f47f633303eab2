"""`sat robustbench`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sat_evaluation.cli.options import add_debug

_ABOUT = "Add to an exported folder what RobustBench asks for: a module for its model zoo, and the claim as JSON."


def add(commands: Any) -> None:
    """Add the command and its arguments."""
    command = commands.add_parser("robustbench", help="an exported network for RobustBench", description=_ABOUT)
    command.add_argument("folder", type=Path, help="what `sat export` made")
    command.add_argument("--name", required=True, help="of the network in RobustBench, as Losch2024Subset_R18")
    command.add_argument(
        "--results", required=True, type=Path, metavar="PATH", help="of the arm, or a JSON file of `sat evaluate`"
    )
    command.add_argument("--data", default="", help="cifar10, cifar100 or imagenet (default: that of the results)")
    add_debug(command)
    command.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from sat_evaluation.publish.robustbench import TO_FILL_IN, write_robustbench

    module, claim = write_robustbench(arguments.folder, arguments.name, arguments.results, arguments.data)
    print(f"{module}: says how RobustBench loads and attacks the network")
    print(f"{claim}: fill in {', '.join(TO_FILL_IN)}, and additional_data if there were any")
    return 0
