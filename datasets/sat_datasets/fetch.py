"""One file over HTTP, within limits of time, speed and size."""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import final

from sat_core.errors import DataError

PATIENCE = 60.0
"""Seconds over which the speed is measured, and without a byte after which a connection has failed."""
SLOWEST = 10_000
"""Bytes per second: a server that sends less is given up."""
LONGEST = 12 * 3600.0
"""Seconds that one file may take."""
LARGEST = 2 * 2**30
"""Bytes of one file; the largest of the catalogue has 1.2 GB."""
_CHUNK = 2**16

Progress = Callable[[str, int, int | None], None]
"""Called with what is going on, the bytes so far and, if known, their number."""


def fetch(url: str, path: Path, progress: Progress = lambda *_: None) -> None:
    """Write what is at `url` to `path`. DataError beyond a limit; else the errors of urllib and of the file system."""
    transfer = _Transfer(url, path)
    # In a thread: whatever it waits for, a name server or the next byte of a header, the limits hold.
    thread = threading.Thread(target=transfer.run, daemon=True)
    thread.start()
    start = since = time.monotonic()
    before = 0
    try:
        while thread.is_alive():
            thread.join(0.1)
            now, received = time.monotonic(), transfer.received
            progress(url.rsplit("/", 1)[-1], received, transfer.total)
            if now - start > LONGEST:
                raise _given_up(url, f"within {LONGEST / 3600:.3g} hours", f"{received:,} bytes")
            if now - since > PATIENCE and thread.is_alive():
                if received - before < SLOWEST * (now - since):
                    speed = f"{SLOWEST:,} bytes per second"
                    raise _given_up(url, f"at {speed}", f"{received - before:,} bytes in {now - since:.3g} seconds")
                since, before = now, received
    finally:
        transfer.stopped = True
    if transfer.error is not None:
        raise transfer.error


def _given_up(url: str, expected: str, got: str) -> DataError:
    return DataError(f"{url}: expected a file {expected}, got {got}\ntry again later, or get it by other means")


@final
class _Transfer:
    """What the thread does, and how far it is."""

    def __init__(self, url: str, path: Path) -> None:
        self.url, self.path = url, path
        self.received, self.stopped = 0, False
        self.total: int | None = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self._copy()
        except BaseException as error:  # raised where it is waited for
            self.error = error

    def _copy(self) -> None:
        request = urllib.request.Request(self.url, headers={"User-Agent": "sat-core"})
        with urllib.request.urlopen(request, timeout=PATIENCE) as response, self.path.open("wb") as file:
            length = response.headers.get("Content-Length", "")
            self.total = int(length) if length.isdecimal() else None
            while not self.stopped and max(self.received, self.total or 0) <= LARGEST:
                chunk = response.read1(_CHUNK)  # at most one wait for the network, so that a stop is heard
                if not chunk:
                    return
                self.received += len(chunk)
                file.write(chunk)
        if not self.stopped:
            raise _given_up(self.url, f"of at most {LARGEST:,} bytes", f"{max(self.received, self.total or 0):,}")
