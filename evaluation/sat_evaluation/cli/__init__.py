"""The `sat` command: its arguments and all that it prints.

Modules named after commands add the arguments. All others are imported when a command runs, so that `sat --help` starts
quickly.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn, final

from sat_core.errors import EXIT_CONTINUE, Detached, Interrupted, SatError, printable, shortened
from sat_evaluation.cli import (
    compare,
    completion,
    data,
    evaluate,
    export,
    plan,
    rank,
    report,
    reproduce,
    robustbench,
    run,
    schema,
    status,
    table,
)
from sat_evaluation.run.output import EXIT_OUTPUT, standard_streams


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: Its arguments; by default those of the process.

    Returns:
        Exit status. 0: done; 2: refused or failed, one to three lines say why; 75: saved and stopped, run it again;
        74: done, but its output could not be written (a reader that has gone, as in ``| head``, is no error); 1: a
        defect.
    """
    with standard_streams() as output:
        status = _run(argv)
        # now, so that what cannot be written is known before the exit status is chosen
        output.flush()
        if output.error is not None and not isinstance(output.error, BrokenPipeError) and status == 0:
            _complain(f"standard output: cannot be written ({output.error})\nall else is done, and no file is missing")
            return EXIT_OUTPUT
    return status


def _run(argv: Sequence[str] | None) -> int:
    # `words`: for a command that starts itself on several devices
    words = sys.argv[1:] if argv is None else [*argv]
    arguments = parser().parse_args(words, argparse.Namespace(words=words))
    try:
        if getattr(arguments, "imports", ()):
            from sat_core.plugins import load_plugins

            load_plugins(arguments.imports, "--import")
        return int(arguments.run(arguments))
    # before Interrupted, of which it is one
    except Detached as error:
        print(error)
        return 0
    except Interrupted as error:
        _complain(error)
        return EXIT_CONTINUE
    except SatError as error:
        if arguments.debug:
            raise
        _complain(error)
        return 2
    except KeyboardInterrupt:
        _complain("interrupted; what is finished is saved, the same command goes on")
        return EXIT_CONTINUE
    except Exception as error:
        if arguments.debug:
            raise
        if isinstance(error, OSError) and error.filename is not None:  # a path that the system refuses is no defect
            _complain(f"{shortened(str(error.filename), 120)}: {error.strerror}")
            return 2
        _complain(f"unexpected {type(error).__name__}: {str(error)[:300]}\nthis is a defect; --debug shows where")
        return 1


@final
class _Parser(argparse.ArgumentParser):
    """Prints errors in two lines, without the list of all arguments."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {shortened(message, 300)}\n`{self.prog} --help` lists all arguments\n")


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = _Parser(prog="sat", description="Subset Adversarial Training: robustness for less.")
    top.add_argument("--version", action="version", version=_version())
    top.add_argument("--debug", action="store_true", help="show tracebacks")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for module in (
        run,
        plan,
        rank,
        reproduce,
        compare,
        status,
        report,
        table,
        evaluate,
        export,
        robustbench,
        data,
        schema,
    ):
        module.add(commands)
    completion.add(commands, top)
    return top


def _version() -> str:
    import sat_core

    return f"sat-core {sat_core.__version__}"


def _complain(error: object) -> None:
    """Print an error in lines that stay readable, whatever text of the user is in them."""
    lines = f"sat: {printable(str(error))}".splitlines()
    print("\n".join(shortened(line, 500) for line in lines), file=sys.stderr)
