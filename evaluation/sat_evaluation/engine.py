"""Runs the units of a study side by side, each in a process of its own with the threads that its spec says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import final

import attrs

from sat_core.errors import EXIT_CONTINUE
from sat_datasets.workers import count
from sat_evaluation.layout import RANKING, unit_directory

LOG = "log.txt"
_STOPS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


@final
@attrs.frozen
class Unit:
    """A piece of work: its name, the threads of its process, and whether the ranking must be there first."""

    name: str
    threads: int
    after_ranking: bool = False


@final
@attrs.define
class Outcome:
    """How the units ended. failed: name to reason. stopped: a stop was asked for; the same command goes on."""

    done: list[str] = attrs.Factory(list)
    failed: dict[str, str] = attrs.Factory(dict)
    stopped: bool = False


Tick = Callable[[Outcome, Sequence[str]], None]
"""Called a few times a second with what has ended and the names of what runs."""


def run_units(out: Path, units: Sequence[Unit], jobs: int, save_every: float, tick: Tick) -> Outcome:
    """Run `units` in order, `jobs` at a time. One that fails takes no other down but those that need it."""
    outcome, waiting = Outcome(), list(units)
    running: dict[str, subprocess.Popen[bytes]] = {}
    with _stop_signals(outcome):
        while (waiting and not outcome.stopped) or running:
            for unit in _ready(waiting, outcome, units):
                if len(running) < jobs:
                    waiting.remove(unit)
                    running[unit.name] = _start(out, unit, save_every, jobs)
            time.sleep(0.1)
            if outcome.stopped:
                for process in running.values():
                    process.send_signal(signal.SIGTERM)
            for name in [n for n, process in running.items() if process.poll() is not None]:
                _settle(out, name, running.pop(name).returncode, outcome)
            tick(outcome, list(running))
    return outcome


def _ready(waiting: list[Unit], outcome: Outcome, units: Sequence[Unit]) -> list[Unit]:
    if outcome.stopped:
        return []
    ranked = RANKING in outcome.done or RANKING not in [unit.name for unit in units]
    if RANKING in outcome.failed:
        for unit in [u for u in waiting if u.after_ranking]:
            waiting.remove(unit)
            outcome.failed[unit.name] = "not run: the ranking failed"
    return [unit for unit in waiting if ranked or not unit.after_ranking]


def _start(out: Path, unit: Unit, save_every: float, jobs: int) -> subprocess.Popen[bytes]:
    directory = unit_directory(out, unit.name)
    directory.mkdir(parents=True, exist_ok=True)
    threads = {f"{library}_NUM_THREADS": str(unit.threads) for library in ("OMP", "MKL", "OPENBLAS")}
    decoders = os.environ.get("SAT_WORKERS") or str(max(1, count() // jobs))
    command = [sys.executable, "-m", "sat_evaluation.worker", str(out), unit.name, str(save_every)]
    with (directory / LOG).open("ab") as log:
        # a group of its own: Ctrl-C reaches the workers as the stop that the study forwards, not as an interrupt
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **threads, "SAT_WORKERS": decoders},
            process_group=0,
        )


def _settle(out: Path, name: str, status: int, outcome: Outcome) -> None:
    if status == 0:
        outcome.done.append(name)
    elif status in (EXIT_CONTINUE, -signal.SIGTERM):  # the latter before the worker could listen
        outcome.stopped = True
    else:
        log = unit_directory(out, name) / LOG
        ending = f"ended by {signal.Signals(-status).name}" if status < 0 else last_line(log)
        outcome.failed[name] = f"{ending} (see {log})"


def last_line(log: Path) -> str:
    """The last line of a log that is not empty."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


@contextmanager
def _stop_signals(outcome: Outcome) -> Iterator[None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        outcome.stopped = True

    before = {number: signal.signal(number, stop) for number in _STOPS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
