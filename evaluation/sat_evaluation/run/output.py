"""Standard output and error whose failure ends no run: text that cannot be written is left out."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, final

EXIT_OUTPUT = 74
"""Exit status of a command that is done, but could not print all of its output (EX_IOERR in sysexits.h)."""


class _Nowhere(io.StringIO):
    def write(self, text: str) -> int:
        return len(text)


@final
class Output:
    """A text stream whose `write` and `flush` never raise, even if the reader is gone or the disk is full.

    Characters that its encoding lacks become question marks.

    Args:
        stream: The stream that is written to; None if it was closed before the process began.

    Attributes:
        error: The first error of a write; None if there was none.
    """

    def __init__(self, stream: Any) -> None:
        self.stream: TextIO = _Nowhere() if stream is None else stream
        self.error: OSError | ValueError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write as much as possible; returns the length of `text`."""
        try:
            self.stream.write(text)
        # before ValueError, of which it is one
        except UnicodeEncodeError:
            encoding = self.stream.encoding or "ascii"
            self._attempt(lambda: self.stream.write(text.encode(encoding, "replace").decode(encoding)))
        except (OSError, ValueError) as error:
            self.error = self.error or error
        return len(text)

    def flush(self) -> None:
        """Flush, if possible."""
        self._attempt(self.stream.flush)

    def isatty(self) -> bool:
        """Return whether it is an open terminal."""
        return not self.stream.closed and self.stream.isatty()

    def close(self) -> None:
        """Flush for the last time."""
        self.flush()
        if self.error is not None:
            # The interpreter flushes again when it exits, and would fail and change the exit status.
            with suppress(OSError, ValueError), open(os.devnull, "wb") as null:
                os.dup2(null.fileno(), self.stream.fileno())

    def _attempt(self, act: Callable[[], Any]) -> None:
        try:
            act()
        except (OSError, ValueError) as error:
            self.error = self.error or error


@contextmanager
def standard_streams() -> Iterator[Output]:
    """Replace `sys.stdout` and `sys.stderr` by an `Output` inside; yields the former."""
    for number in (0, 1, 2):  # the next file that is opened would get the number of a closed stream
        try:
            os.fstat(number)
        except OSError:
            # inheritable, as standard streams are: processes started from here have them, too
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    before = sys.stdout, sys.stderr
    output, errors = Output(sys.stdout), Output(sys.stderr)
    sys.stdout, sys.stderr = output, errors
    try:
        yield output
    finally:
        output.close()
        errors.close()
        sys.stdout, sys.stderr = before
