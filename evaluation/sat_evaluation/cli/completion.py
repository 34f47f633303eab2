"""`sat completion`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sat_evaluation.cli.options import add_debug, add_import

_ABOUT = "Print a script with which a shell completes commands, options, names and paths; needs the package shtab."
_SHELLS = ("bash", "zsh", "fish")
_PATHS = ("study", "checkpoint", "source", "out", "figure", "root", "weights")
"""Arguments that take a path; so do all of the type `Path`."""


def add(commands: Any, top: argparse.ArgumentParser) -> None:
    """Add the command and its arguments.

    Args:
        commands: What commands are added to.
        top: The parser of all commands, which it describes.
    """
    completion = commands.add_parser("completion", help="complete commands in bash, zsh or fish", description=_ABOUT)
    completion.add_argument("shell", choices=_SHELLS, help="whose script (docs/editor.md says where it goes)")
    add_import(completion)
    add_debug(completion)
    completion.set_defaults(run=_run, top=top)


def _run(arguments: argparse.Namespace) -> int:
    from sat_core.errors import NotInstalledError, install

    try:
        import shtab
    except ImportError as error:
        raise NotInstalledError(f"sat completion needs the package shtab ({error}): {install('completion')}") from error
    names = _names()
    for action in _actions(arguments.top):
        if action.choices is None and action.nargs != 0:
            if action.type is Path or action.dest in _PATHS:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
            elif action.dest in names:
                action.choices = list(names[action.dest])
    print(shtab.complete(arguments.top, arguments.shell))
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The arguments of a parser and of all commands below it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from _actions(each)
        else:
            yield action


def _names() -> dict[str, Iterable[str]]:
    """Names that arguments take, those of plug-ins and installed packages included."""
    from sat_core.backend import BACKENDS
    from sat_core.datasets import DATASETS
    from sat_core.difficulty import DIFFICULTIES
    from sat_core.protocols import PROTOCOLS
    from sat_core.threat import THREAT_MODELS
    from sat_evaluation.paper.experiments import PAPER_FIGURES
    from sat_evaluation.paper.scales import SCALES

    return {
        "backend": BACKENDS,
        "data": DATASETS,
        "device": ("cpu", "cuda"),
        "figures": PAPER_FIGURES,
        "metric": DIFFICULTIES,
        "name": DATASETS,
        "norm": THREAT_MODELS,
        "protocol": PROTOCOLS,
        "scale": SCALES,
    }
