"""`sat schema`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sat_evaluation.cli.options import add_debug, add_import


def add(commands: Any) -> None:
    """Add the command and its arguments."""
    about = "Print a JSON Schema of study files, with which editors complete keys and underline what is wrong."
    schema = commands.add_parser("schema", help="print the JSON Schema of study files, for editors", description=about)
    schema.add_argument("--out", type=Path, metavar="FILE", help="write it into this file")
    add_import(schema)
    add_debug(schema)
    schema.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    import json

    from sat_core.files import write_json
    from sat_core.study_schema import study_schema

    if arguments.out is None:
        print(json.dumps(study_schema(), indent=2))
    else:
        write_json(arguments.out, study_schema())
    return 0
