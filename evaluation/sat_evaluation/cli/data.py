"""`sat data`."""

from __future__ import annotations

import argparse
from typing import Any

from sat_evaluation.cli.options import add_debug

_DATA = "The data sets that --set data.name and --data take."


def add(commands: Any) -> None:
    """Add the command and its arguments."""
    data = commands.add_parser("data", help="data sets: list, info, download, verify", description=_DATA)
    verbs = data.add_subparsers(title="commands", required=True, metavar="COMMAND")
    verbs.add_parser("list", help="all data sets, and which are here")
    info = verbs.add_parser("info", help="what is known about one")
    info.add_argument("name", help="a name of the list, with a path or options where it takes them")
    download = verbs.add_parser("download", help="get one, whole and checked, or leave everything as it was")
    download.add_argument("name", help="a name of the list")
    download.add_argument(
        "--root", metavar="DIR", help="where to (default: NAME in $SAT_DATA, or in ~/.cache/sat-core)"
    )
    verify = verbs.add_parser("verify", help="check sums and counts, and decode every image")
    verify.add_argument("name", help="a name of the list, with a path or options where it takes them")
    for verb, command in verbs.choices.items():
        command.set_defaults(run=_data, verb=verb)
        add_debug(command)


def _data(arguments: argparse.Namespace) -> int:
    from sat_evaluation.cli import data_sets as data

    if arguments.verb == "list":
        data.print_list()
    elif arguments.verb == "info":
        data.print_info(arguments.name)
    elif arguments.verb == "download":
        print(data.fetch(arguments.name, arguments.root))
    else:
        print(data.check(arguments.name))
    return 0
