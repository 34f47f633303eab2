"""Every error that a user can meet, as one tree, and the pieces that messages are made of.

    SatError                    base of all; the command line prints it without a traceback
    ├── SpecError               a setting is wrong                                       (also a ValueError)
    ├── DataError               images, labels, rankings or result files are wrong       (also a ValueError)
    ├── NotInstalledError       an optional package is missing                           (also an ImportError)
    ├── CheckpointError         a checkpoint is damaged, or of another model             (also a ValueError)
    ├── RunDirectoryError       a run folder is of another experiment, in use, or cannot be written
    ├── TrainingError           the loss is no longer finite
    ├── EvaluationError         an attack or a model returned something invalid
    └── Interrupted             stopped on request after saving; the same command continues
        └── Detached            jobs are queued and nobody waits for them

A message has at most three lines: what was expected, what was there, and what to do.
"""

from __future__ import annotations

import re


def printable(text: str, keep: str = "\n") -> str:
    """Escape characters that are not printable, so that a name from a file cannot steer or mislead a terminal.

    Escaped are control characters except those in `keep`, bidirectional marks and lone surrogates.

    >>> printable("a\\x1b[31m"), printable("a\\u202eb")
    ('a\\\\x1b[31m', 'a\\\\u202eb')
    """
    if text.isprintable():  # nearly every text, and a report has a hundred thousand
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


class SatError(Exception):
    """Base of all errors raised on purpose; the command line prints them without a traceback."""

    def __str__(self) -> str:
        # When shown, not when raised: no place that puts a file's text into a message can forget it.
        return printable(super().__str__())


class SpecError(SatError, ValueError):
    """A setting, or a combination of settings, is invalid."""


class DataError(SatError, ValueError):
    """Images, labels, rankings or data files cannot be used as they are."""


class NotInstalledError(SatError, ImportError):
    """An optional feature was requested and its package is missing."""


class CheckpointError(SatError, ValueError):
    """A checkpoint is truncated, of another program, or of another model."""


class RunDirectoryError(SatError):
    """A run folder belongs to another experiment, is in use, or cannot be written."""


class TrainingError(SatError):
    """Training cannot go on: the loss is no longer a finite number."""


class EvaluationError(SatError):
    """An attack returned an invalid adversarial example, or a model returned NaN or infinity."""


class Interrupted(SatError):
    """A run saved and stopped on request; the same command continues. Exit status: `EXIT_CONTINUE`."""


class Detached(Interrupted):
    """Jobs were submitted and nobody waits for them; the same command waits. Exit status: 0."""


def install(extra: str) -> str:
    """Return the command that installs an extra; sat-core is installed from source, since no index has it."""
    return f"pip install '.[{extra}]' in the folder of sat-core's source"


def quoted(value: object, width: int = 80) -> str:
    """Format a value for a message: its `repr`, with the middle left out if longer than `width`."""
    try:
        return shortened(repr(value), width)
    except (RecursionError, ValueError):  # lists nested too deep, integers of thousands of digits
        return f"{type(value).__name__} too large to print"


def shortened(text: str, width: int = 80) -> str:
    """Leave out the middle of `text` if it is longer than `width`.

    >>> shortened("abcdefghijklmnopqrstuvwxyz", 11)
    'abcd … wxyz'
    """
    half = (width - 3) // 2
    return text if len(text) <= width else f"{text[:half]} … {text[-half:]}"


EXIT_CONTINUE = 75
"""Exit status of a run that saved and stopped on SIGTERM or SIGUSR1 (sysexits' EX_TEMPFAIL: try again)."""


def brief(error: BaseException) -> str:
    """Summarise a foreign exception: its type and first two lines, without headings and indented details."""
    # Keras colours its messages for a terminal.
    lines = [line.rstrip() for line in re.sub(r"\x1b\[\d*m", "", str(error)).splitlines() if line.strip()]
    telling = [line for line in lines if not line[0].isspace() and not line.endswith(":")] or lines
    return f"{type(error).__name__}: {shortened(' '.join(telling[:2]), 200)}".removesuffix(": ")


def type_name(value: object) -> str:
    """Return the name of a value's type, with its module unless it is built in."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
