"""`sat report`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sat_evaluation.cli.options import add_debug

_REPORT = "One HTML file on studies, transfers or reproductions; it needs no network, and can be sent to others."


def add(commands: Any) -> None:
    """Add the command and its arguments."""
    report = commands.add_parser("report", help="an HTML page of one or several studies", description=_REPORT)
    report.add_argument(
        "dirs", nargs="+", type=Path, metavar="DIR", help="folder of a study, a transfer, or `sat reproduce`"
    )
    report.add_argument("--out", type=Path, metavar="FILE", help="default: report.html in the folder; of several, here")
    report.add_argument("--open", action="store_true", help="show it in the browser")
    report.set_defaults(run=_report)
    add_debug(report)


def _report(arguments: argparse.Namespace) -> int:
    from sat_evaluation.report.page import write_report

    path = write_report(arguments.dirs, arguments.out)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    if arguments.open:
        import webbrowser

        webbrowser.open(path.resolve().as_uri())
    return 0
