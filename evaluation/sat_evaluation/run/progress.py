"""How far each unit of work is: written by its process to a file, read by the parent and drawn on the terminal."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

import attrs
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.live import Live
from rich.text import Text

from sat_core.files import TEMPORARY
from sat_evaluation.results.text import duration, percent, shown
from sat_evaluation.run.output import Output

_WRITE_EVERY = 0.5
_LINE_EVERY = 30.0
"""Seconds: at most one write of a process, and at most one line per stage where the output is no terminal."""
_BAR = 12
STATES = ("failed", "unreadable", "running", "queued", "unknown", "stopped", "waiting")
"""Of units that are not finished, in the order in which they are counted."""


@final
@attrs.frozen
class Progress:
    """One stage of a unit of work: `done` of `total`, of which `first` were done when the stage began.

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
        made, elapsed = self.done - self.first, self.updated - self.started
        if made <= 0 or elapsed <= 0:
            return None
        return max(0.0, (self.total - self.done) * elapsed / made - (now - self.updated))


def read(path: Path) -> Progress | None:
    """What `ProgressFile` wrote; None if there is nothing, or nothing that makes sense."""
    try:
        content = json.loads(path.read_text())
        numbers = {key: float(content[key]) for key in ("done", "total", "started", "updated", "first")}
        progress = Progress(stage=str(content["stage"]), note=str(content["note"]), **numbers)
    except (OSError, ValueError, LookupError, TypeError, OverflowError):
        return None
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
        now, last = time.time(), self._last
        begins = last is None or last.stage != stage or done < last.done
        started, first = (now, done) if last is None or begins else (last.started, last.first)
        self._last = Progress(stage, done, total, note, started, now, first)
        if begins or done >= total or now - self._written >= _WRITE_EVERY:
            self._written = now
            self._write(json.dumps(attrs.asdict(self._last)))

    def _write(self, content: str) -> None:
        partial = self._path.with_name(f"{TEMPORARY}{self._path.name}")
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(content)
            os.replace(partial, self._path)


@final
class LiveView:
    """One row per unit of work and a last one for all of them; plain lines where the output is no terminal.

    units: label to the path of its progress file, in the order drawn. Files from before the view are ignored.
    """

    def __init__(self, units: Mapping[str, Path], console: Console | None = None) -> None:
        self._units = dict(units)
        output: Any = sys.stdout if isinstance(sys.stdout, Output) else Output(sys.stdout)  # which ends no study
        self._console = console or Console(file=output, force_interactive=None if output.isatty() else False)
        self._live = Live(console=self._console, auto_refresh=False) if self._console.is_interactive else None
        self._began = time.time()
        self._now: dict[str, Progress] = {}
        self._told: dict[str, tuple[tuple[str, float] | None, float]] = {}
        self._ended: dict[str, tuple[str, str]] = {}
        self._logs: dict[str, list[str]] = {}
        self._queued: Mapping[str, str] = {}
        self._notice = ""

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        self.refresh()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refresh()
        if self._live:
            self._live.stop()
        else:
            self._say(self._overall())

    def refresh(self, queued: Mapping[str, str] | None = None, notice: str = "") -> None:
        """Read the files and draw, or say what is new.

        queued: units that wait in a queue, with what is known of that. notice: what holds everything up.
        """
        self._queued = queued or {}
        if notice != self._notice:
            self._notice = notice
            if notice and not self._live:
                self._say(notice)
        for label, path in self._units.items():
            progress = None if label in self._ended else read(path)
            if progress and progress.updated >= self._began and label not in self._queued:
                self._now[label] = progress
                if not self._live:
                    self._tell(label, progress)
        if self._live:
            self._live.update(self._drawn(), refresh=True)

    def finish(self, label: str, text: str) -> None:
        """The unit is done, with this result in a few words."""
        self._end(label, "finished", text)

    def fail(self, label: str, text: str, log: Sequence[str] = ()) -> None:
        """The unit failed; the first line of `text` is shown as the reason, and below it the last lines of its log."""
        self._logs[label] = [line for line in log if line.strip() not in text]
        self._end(label, "failed", text)

    def _end(self, label: str, state: str, text: str) -> None:
        reason = shown(next(iter(text.strip().splitlines()), ""), 200)
        self._ended[label] = state, reason
        if self._live:
            self.refresh()
        else:
            for line in (f"{label}: {state}{', ' if reason else ''}{reason}", *self._logs.get(label, ())):
                self._say(line)

    def _tell(self, label: str, progress: Progress) -> None:
        """A line when a stage begins, and every half minute while it lasts."""
        now, stage = time.time(), (progress.stage, progress.started)
        told, when = self._told.get(label, (None, 0.0))
        if told != stage:
            self._say(f"{label}: {progress.stage}")
        elif now - when >= _LINE_EVERY:
            self._say(f"{label}: {progress.stage} {percent(progress.share)}{_left(progress, ', ')}")
        else:
            return
        self._told[label] = stage, now

    def _say(self, line: str) -> None:
        self._console.print(Text(shown(line, 500)), soft_wrap=True)

    def _drawn(self) -> Text:
        """All units, or those that run or failed where there are more than the terminal has lines."""
        labels, room = list(self._units), self._console.height - 2
        if len(labels) > room:
            labels = [label for label in labels if self._state(label) in ("running", "failed")][:room]
        width = row_width(labels)
        rows = {label: self._row(label, width) for label in labels}
        spare = room - len(rows)
        lines = []
        for label, row in rows.items():
            logs = self._logs.get(label, [])[: max(0, spare)]
            spare -= len(logs)
            lines += [row, *map(log_line, logs)]
        return Text("\n", no_wrap=True, overflow="ellipsis").join([*lines, Text(self._overall(), style="bold")])

    def _row(self, label: str, width: int) -> Text:
        text = self._ended.get(label, ("", self._queued.get(label, "")))[1]
        return table_row(label, width, self._state(label), self._now.get(label), text)

    def _state(self, label: str) -> str:
        if label in self._ended:
            return self._ended[label][0]
        if label in self._queued:
            return "queued"
        return "running" if label in self._now else "waiting"

    def _overall(self) -> str:
        count = Counter(self._state(label) for label in self._units)
        return " · ".join(filter(None, [counts(count), duration(time.time() - self._began), self._notice]))


def table_row(label: str, width: int, state: str, progress: Progress | None, text: str) -> Text:
    """One unit: its name in `width` cells, then how far it is if it runs, else its state and `text`."""
    row = Text(f"{set_cell_size(shown(label, width), width)}  ")
    if state == "running" and progress is not None:
        filled = round(progress.share * _BAR)
        row.append(f"{set_cell_size(shown(progress.stage), 10)} ")
        row.append("━" * filled, style="cyan").append("─" * (_BAR - filled), style="dim")
        row.append(f" {percent(progress.share):>5} {_left(progress):>11}")
        return row.append(f"  {shown(text or progress.note, 80)}", style="dim")
    row.append(f"{state:<10} ", style={"finished": "green", "failed": "red"}.get(state, "dim"))
    return row.append(text)


def row_width(labels: Sequence[str]) -> int:
    """Cells for the names of units in a table."""
    return min(22, max((cell_len(shown(label)) for label in labels), default=0))


def log_line(line: str) -> Text:
    """A line of a log, below the row of the unit that failed."""
    return Text(f"    {shown(line, 200)}", style="dim")


def counts(count: Mapping[str, int]) -> str:
    """``3 of 10 finished · 1 failed``: how many units are in which state."""
    others = [f"{count[state]} {state}" for state in STATES if count.get(state)]
    return " · ".join([f"{count.get('finished', 0)} of {sum(count.values())} finished", *others])


def _left(progress: Progress, before: str = "") -> str:
    seconds = progress.left(time.time())
    return "" if seconds is None else f"{before}{duration(seconds)} left"
