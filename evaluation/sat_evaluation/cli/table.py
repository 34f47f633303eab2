"""`sat table`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from sat_evaluation.cli.options import add_debug, add_import

_TABLE = "A study as a table to analyse: what has a row of its own, of each finished arm, as CSV or Parquet."


def add(commands: Any) -> None:
    """Add the command and its arguments."""
    command = commands.add_parser(
        "table", help="a study as CSV or Parquet, image by image if wanted", description=_TABLE
    )
    command.add_argument("folder", type=Path, help="of a study or of a transfer")
    command.add_argument(
        "--what",
        choices=("arms", "classes", "checks", "images", "examples"),
        default="arms",
        help="a row for each arm, class, checked epoch, test image, or training example (arms)",
    )
    command.add_argument("--arms", nargs="+", default=[], metavar="ARM", help="names or patterns (default: all)")
    command.add_argument("--out", type=Path, metavar="FILE", help="ends in .csv or .parquet; default: CSV, printed")
    add_import(command)
    add_debug(command)
    command.set_defaults(run=_table)


def _table(arguments: argparse.Namespace) -> int:
    from sat_core.run_folder import one_run
    from sat_evaluation.results.table_files import csv_parts, write_table, writer_for
    from sat_evaluation.results.tidy import table
    from sat_evaluation.run.status import finished_rows

    if arguments.out is not None:
        writer_for(arguments.out)  # its errors come before anything is read
    folder = one_run(arguments.folder)
    rows, unfinished = finished_rows(folder, arguments.arms)
    made = table(arguments.what, rows, folder)
    if unfinished:
        left = f"{len(unfinished)} of {len(rows) + len(unfinished)} arms are not finished and left out"
        print(f"sat: {left} ({', '.join(unfinished[:3])})", file=sys.stderr)
    if arguments.out is None:
        sys.stdout.writelines(csv_parts(made))
        return 0
    write_table(arguments.out, made)
    print(f"{arguments.out}: {arguments.what} of {len(rows)} arms, {arguments.out.stat().st_size / 1e6:.1f} MB")
    return 0
