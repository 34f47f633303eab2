"""Download one file over HTTP, within limits on time, speed and size."""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import final

from sat_core.errors import DataError

PATIENCE = 60.0
"""Seconds over which the speed is measured, and without any data after which a connection has failed."""
SLOWEST = 10_000
"""Lowest speed in bytes per second."""
LONGEST = 12 * 3600.0
"""Most seconds for one file."""
LARGEST = 2 * 2**30
"""Most bytes of one file; the largest file of the catalogue has 1.2 GB."""
_CHUNK = 2**16

Progress = Callable[[str, int, int | None], None]
"""Called with what is being done, the bytes received so far and, if the server says it, the size of the file."""


def fetch(url: str, path: Path, progress: Progress = lambda *_: None) -> None:
    """Download a file.

    Args:
        url: Its address.
        path: Where to write it.
        progress: Called about ten times a second.

    Raises:
        DataError: The file is too large, or the server too slow.
        OSError: The file cannot be written, or the server cannot be reached (`urllib.error.URLError`).
    """
    transfer = _Transfer(url, path)
    # urllib's timeout starts anew with every byte, and does not cover the name server. The transfer runs in a thread so
    # that the limits hold whatever it is waiting for.
    thread = threading.Thread(target=transfer.run, daemon=True)
    thread.start()
    start = window_start = time.monotonic()
    received_before = 0
    try:
        while thread.is_alive():
            thread.join(0.1)
            now, received = time.monotonic(), transfer.received
            progress(url.rsplit("/", 1)[-1], received, transfer.total)
            if now - start > LONGEST:
                raise _given_up(url, f"within {LONGEST / 3600:.3g} hours", f"{received:,} bytes")
            seconds, new = now - window_start, received - received_before
            # Over the last minute, not since the start: a fast beginning must not pay for a server that stalls.
            if seconds > PATIENCE and thread.is_alive():
                if new < SLOWEST * seconds:
                    raise _given_up(url, f"at {SLOWEST:,} bytes per second", f"{new:,} bytes in {seconds:.3g} seconds")
                window_start, received_before = now, received
    finally:
        transfer.stopped = True
    if transfer.error is not None:
        raise transfer.error


def _given_up(url: str, expected: str, got: str) -> DataError:
    return DataError(f"{url}: expected a file {expected}, got {got}\ntry again later, or get it by other means")


@final
class _Transfer:
    """One download in a thread: what it has received, and the error that ended it."""

    def __init__(self, url: str, path: Path) -> None:
        self.url, self.path = url, path
        self.received, self.stopped = 0, False
        self.total: int | None = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self._copy()
        except BaseException as error:  # `fetch` raises it in the caller's thread
            self.error = error

    def _copy(self) -> None:
        request = urllib.request.Request(self.url, headers={"User-Agent": "sat-core"})
        with urllib.request.urlopen(request, timeout=PATIENCE) as response, self.path.open("wb") as file:
            length = response.headers.get("Content-Length", "")
            self.total = int(length) if length.isdecimal() else None
            # A size that the server announces is refused before the first byte, one that it does not once it is passed.
            while not self.stopped and max(self.received, self.total or 0) <= LARGEST:
                chunk = response.read1(_CHUNK)  # returns after one read from the network, so that `stopped` is noticed
                if not chunk:
                    return
                self.received += len(chunk)
                file.write(chunk)
        if not self.stopped:
            raise _given_up(self.url, f"of at most {LARGEST:,} bytes", f"{max(self.received, self.total or 0):,}")
