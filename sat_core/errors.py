"""Every error that a user can meet, as one tree. Messages are at most three lines: expected, got, what to do."""

from __future__ import annotations

import re


def printable(text: str, keep: str = "\n") -> str:
    """`text` with escapes for what is not printable, so that a name from a file cannot steer or mislead a terminal.

    That is control characters other than those in `keep`, marks of the direction of writing, and half characters.

    >>> printable("a\\x1b[31m"), printable("a\\u202eb")
    ('a\\\\x1b[31m', 'a\\\\u202eb')
    """
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


class SatError(Exception):
    """Base of all errors raised on purpose; the command line prints them without a traceback."""

    def __str__(self) -> str:
        return printable(super().__str__())


class SpecError(SatError, ValueError):
    """A setting, or a combination of settings, that makes no experiment."""


class DataError(SatError, ValueError):
    """Images, labels, rankings or files of data that cannot be used as they are."""


class NotInstalledError(SatError, ImportError):
    """Something optional was asked for by name and its package is missing."""


class CheckpointError(SatError, ValueError):
    """A checkpoint that is truncated, foreign, or belongs to another model."""


class RunDirectoryError(SatError):
    """A run directory that belongs to another experiment, is in use, or cannot be written."""


class TrainingError(SatError):
    """Training cannot go on: the loss is no longer a finite number."""


class EvaluationError(SatError):
    """An attack returned something that is not a valid adversarial example."""


class Interrupted(SatError):
    """Stopped on request after saving; the same command continues. Exit status: `EXIT_CONTINUE`."""


class Detached(Interrupted):
    """Jobs are in a queue and no one waits for them; the same command does. Exit status: 0."""


def install(extra: str) -> str:
    """What brings the packages of an extra: sat-core is installed from its source, the index does not have it."""
    return f"pip install '.[{extra}]' in the folder of sat-core's source"


def quoted(value: object, width: int = 80) -> str:
    """A value as it stands in a message: its `repr`, without its middle where that is longer than `width`."""
    try:
        return shortened(repr(value), width)
    except (RecursionError, ValueError):  # lists nested too deep, integers of thousands of digits
        return f"{type(value).__name__} too large to print"


def shortened(text: str, width: int = 80) -> str:
    """`text` without its middle where it is longer than `width`.

    >>> shortened("abcdefghijklmnopqrstuvwxyz", 11)
    'abcd … wxyz'
    """
    half = (width - 3) // 2
    return text if len(text) <= width else f"{text[:half]} … {text[-half:]}"


EXIT_CONTINUE = 75
"""Exit status of a run that saved and stopped on SIGTERM or SIGUSR1 (sysexits' EX_TEMPFAIL: try again)."""


def brief(error: BaseException) -> str:
    """Type and first two lines of an error that is not ours, without headings and what is indented below them."""
    lines = [line.rstrip() for line in re.sub(r"\x1b\[\d*m", "", str(error)).splitlines() if line.strip()]
    telling = [line for line in lines if not line[0].isspace() and not line.endswith(":")] or lines
    return f"{type(error).__name__}: {shortened(' '.join(telling[:2]), 200)}".removesuffix(": ")


def type_name(value: object) -> str:
    """Its type, with the module if it is not a built-in one."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
