"""What earlier runs on this machine took: a small file in the user's cache."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, final

import attrs

from sat_core import files
from sat_core.errors import RunDirectoryError, SatError
from sat_evaluation.plan.work import Work

KEPT = 400
"""Trainings that are kept, the latest ones."""
_VERSION = 1


def _floats(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(values)


@final
@attrs.frozen(kw_only=True)
class Taken:
    """What one training took.

    Attributes:
        device, backend: Name of the device, and of the backend.
        setting: As `sat_evaluation.plan.rates.Setting`, as a table.
        forward_flops: Of its network; 0 if they are not known.
        work: Steps, gradient evaluations, attack's steps and gradients, and forward passes of the training.
        seconds: Of the training.
        checks, report: Calls and passes of AutoAttack, and its seconds.
    """

    device: str
    backend: str
    setting: dict[str, Any]
    forward_flops: int
    work: tuple[float, ...] = attrs.field(converter=_floats)
    seconds: float
    checks: tuple[float, ...] = attrs.field(converter=_floats)
    report: tuple[float, ...] = attrs.field(converter=_floats)

    def __attrs_post_init__(self) -> None:
        numbers = (*self.work, self.seconds, *self.checks, *self.report)
        good = all(isinstance(each, int | float) and 0 <= each < float("inf") for each in numbers)
        if not good or [len(each) for each in (self.work, self.checks, self.report)] != [5, 3, 3]:
            raise ValueError("numbers")
        if not isinstance(self.setting, dict) or not isinstance(self.forward_flops, int):
            raise TypeError("setting")


def numbers_of(work: Work) -> tuple[float, ...]:
    """Return the numbers of a training's work in the order of `Taken.work`; of a head those without its steps' own."""
    training = 0 if work.on_features else work.training_gradients
    return work.steps, training, work.attack_steps, work.attack_gradients, work.forwards


def cache_folder() -> Path:
    """Return the folder of the user's cache: SAT_CACHE, else sat-core in XDG_CACHE_HOME or ~/.cache."""
    own = os.environ.get("SAT_CACHE")
    if own:
        return Path(own).expanduser()
    # "or": a variable that is set but empty would be the working directory
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "sat-core"


def cache_file() -> Path:
    """Return the file in which it is kept."""
    return cache_folder() / "taken.json"


def read_taken() -> tuple[list[Taken], str]:
    """Return what earlier runs took, and a line if the file is damaged; it is then as if it were not there."""
    path = cache_file()
    if not path.exists():
        return [], ""
    try:
        content = files.read_json(path)
        if content["version"] != _VERSION:
            return [], ""  # of a later or earlier version, which is no damage
        return [Taken(**each) for each in content["taken"]], ""
    except (SatError, OSError, KeyError, TypeError, ValueError):
        return [], f"{path}: damaged, and left out; delete it, and the next run begins a new one"


def add_taken(new: Iterable[Taken]) -> None:
    """Add what trainings took; the oldest go beyond `KEPT`. A cache that cannot be written is no error."""
    new = list(new)
    if not new:
        return
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        with files.locked(folder, wait=5.0):
            known, _ = read_taken()
            kept = [attrs.asdict(each) for each in [*known, *new][-KEPT:]]
            files.write_json(cache_file(), {"version": _VERSION, "taken": kept})
    except (OSError, RunDirectoryError):
        return  # a home without room, or another process that holds it: the next run adds its own
