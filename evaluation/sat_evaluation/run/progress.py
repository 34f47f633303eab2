"""How far a unit is: written by its process to a file, and read by whoever shows it."""

from __future__ import annotations

import json
import math
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import final

import attrs

from sat_core.files import TEMPORARY

_WRITE_EVERY = 0.5
"""Seconds: at most one write of a process."""


@final
@attrs.frozen
class Progress:
    """One stage of a unit: `done` of `total`, of which `first` were done when the stage began.

    started, updated: when the stage began and when this was written, in seconds since 1970.
    """

    stage: str
    done: float
    total: float
    note: str
    started: float
    updated: float
    first: float = 0.0

    @property
    def share(self) -> float:
        """What is done, in [0, 1]."""
        return min(max(self.done / self.total, 0.0), 1.0) if self.total > 0 else 0.0

    def left(self, now: float) -> float | None:
        """Seconds until the stage ends at the pace so far; None where there is no pace yet."""
        # what an earlier process did took none of this time
        made, elapsed = self.done - self.first, self.updated - self.started
        if made <= 0 or elapsed <= 0:
            return None
        return max(0.0, (self.total - self.done) * elapsed / made - (now - self.updated))


def read(path: Path) -> Progress | None:
    """Return what `ProgressFile` wrote; None if there is nothing, or nothing that makes sense."""
    try:
        content = json.loads(path.read_text())
        numbers = {key: float(content[key]) for key in ("done", "total", "started", "updated", "first")}
        progress = Progress(stage=str(content["stage"]), note=str(content["note"]), **numbers)
    except (OSError, ValueError, LookupError, TypeError, OverflowError):
        return None
    # json reads NaN and Infinity, which no bar can show
    return progress if all(map(math.isfinite, numbers.values())) else None


@final
class ProgressFile:
    """Tells the parent how far this process is: ``report("training", 7, 30, "loss 0.31")``, as often as one likes.

    The file is replaced as a whole, at most twice a second and always at the start and the end of a stage. A write
    that fails is left out: a full disk is no reason to stop training here.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last: Progress | None = None
        self._written = 0.0

    def __call__(self, stage: str, done: float, total: float, note: str = "") -> None:
        """`done` of `total` units of `stage` are over."""
        # the time of day, not a monotonic clock: another process, or machine, compares it with its own
        now, last = time.time(), self._last
        # a step back is the next stage of the same name, such as another check
        begins = last is None or last.stage != stage or done < last.done
        started, first = (now, done) if last is None or begins else (last.started, last.first)
        self._last = Progress(stage, done, total, note, started, now, first)
        if begins or done >= total or now - self._written >= _WRITE_EVERY:
            self._written = now
            self._write(json.dumps(attrs.asdict(self._last)))

    def _write(self, content: str) -> None:
        # without fsync, unlike `sat_core.files`: a crash may lose it, and training need not wait for the disk
        partial = self._path.with_name(f"{TEMPORARY}{self._path.name}")
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(content)
            os.replace(partial, self._path)
