"""Standard output and error that end nothing: what cannot be written is left out, and remembered."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, final

EXIT_OUTPUT = 74
"""Exit status of a command that is done, but could not print all that it says (sysexits' EX_IOERR)."""


class _Nowhere(io.StringIO):
    def write(self, text: str) -> int:
        return len(text)


@final
class Output:
    """A text stream whose `write` and `flush` never raise: the reader may be gone, the disk full, the stream closed.

    Characters that its encoding lacks become question marks. stream: None stands for one that was closed before the
    process began. error: the first that a write met.
    """

    def __init__(self, stream: Any) -> None:
        self.stream: TextIO = _Nowhere() if stream is None else stream
        self.error: OSError | ValueError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write what can be written."""
        try:
            self.stream.write(text)
        except UnicodeEncodeError:
            encoding = self.stream.encoding or "ascii"
            self._attempt(lambda: self.stream.write(text.encode(encoding, "replace").decode(encoding)))
        except (OSError, ValueError) as error:
            self.error = self.error or error
        return len(text)

    def flush(self) -> None:
        """Flush, if that is possible."""
        self._attempt(self.stream.flush)

    def isatty(self) -> bool:
        """Whether it is a terminal; one that is closed is none."""
        return not self.stream.closed and self.stream.isatty()

    def close(self) -> None:
        """Flush for the last time. What the interpreter flushes at its end then meets no error either."""
        self.flush()
        if self.error is not None:
            with suppress(OSError, ValueError), open(os.devnull, "wb") as null:
                os.dup2(null.fileno(), self.stream.fileno())

    def _attempt(self, act: Callable[[], Any]) -> None:
        try:
            act()
        except (OSError, ValueError) as error:
            self.error = self.error or error


@contextmanager
def standard_streams() -> Iterator[Output]:
    """`sys.stdout` and `sys.stderr` are an `Output` inside; gives the former."""
    for number in (0, 1, 2):  # one that is closed would become the number of the next file that is opened
        try:
            os.fstat(number)
        except OSError:
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
