"""Trackers of experiments, such as MLflow: the interface, and the registry in which they are found."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import attrs

from sat_core.registry import Registry
from sat_core.unit_folder import UnitFolder


@final
@attrs.frozen(kw_only=True)
class TrackedUnit:
    """An arm or a ranking, as a tracker is told of it.

    Attributes:
        study: Name of its study, by which a tracker puts its runs together.
        name: Of the arm, as that of its folder.
        folder: Of the arm. A tracker may keep a file there that `UnitFolder` knows, and changes no other.
        params: All settings, by dotted key: numbers, texts, booleans, or lists of them.
        tags: What it was computed with and on: ``backend``, ``device``, ``data``, ``arm``, ``study``, ``sat-core``.
        run_id: Of the tracker's run that an earlier start began, which is to go on; empty for a new one.
        told: How many times that run was told of values in earlier starts.
    """

    study: str
    name: str
    folder: UnitFolder
    params: Mapping[str, Any]
    tags: Mapping[str, str]
    run_id: str = ""
    told: int = 0


class TrackerRun(ABC):
    """What a tracker keeps of one unit. Whatever its methods raise ends no training: they are then called no more.

    Attributes:
        run_id: By which a later start finds the same run; empty where that needs none.
        remembers: Whether `log` leaves out what the run has already. Else it is told of each value once, or twice where
            the process was killed right after it.
    """

    run_id: str = ""
    remembers: bool = False

    @abstractmethod
    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Keep numbers of an epoch, counted from 1, by name; several calls may be of the same epoch."""

    def finish(self, summary: Mapping[str, float], files: Sequence[Path]) -> None:
        """Keep the numbers of a finished arm, and copies of its files: results, flags per image, best checkpoint."""
        return None

    def end(self, how: str) -> None:
        """Close the run for this start: it is ``finished``, ``stopped``, after which it may go on, or ``failed``."""
        return None


class Tracker(ABC):
    """A tracker. What it needs is imported when a method is called, and never before.

    Attributes:
        name: The same as in `TRACKERS`.
    """

    name: str

    @abstractmethod
    def check(self) -> None:
        """Raise NotInstalledError where its library is missing. Called before anything starts; writes nothing."""

    def prepare(self) -> None:
        """Make what several units share, such as a database: called once, before units start side by side."""
        return None

    @abstractmethod
    def start(self, unit: TrackedUnit) -> TrackerRun:
        """Begin a run for a unit, or go on with that of an earlier start."""


TRACKERS: Registry[Tracker] = Registry("tracker", "sat_core.trackers", of=Tracker)
"""Trackers by name, found by entry point, so that the core needs none of their packages."""
