"""A run on the terminal: notes and warnings, then one row per unit that is redrawn while they run."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, Self, final

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as ProgressBar
from rich.text import Text

from sat_core.errors import printable
from sat_core.unit_folder import UnitFolder
from sat_evaluation.cli.unit_rows import counts, log_line, row_width, table_row, time_left
from sat_evaluation.results.text import duration, percent, shown
from sat_evaluation.run.output import Output
from sat_evaluation.run.progress import Progress, read
from sat_evaluation.run.view import Count, Share, UnitsView, View

_LINE_EVERY = 30.0
"""Seconds: at most one line per stage where the output is no terminal."""


@final
class Terminal(View):
    """Shows a run on standard output; its notes and warnings on standard error."""

    def note(self, text: str) -> None:
        """See `View`."""
        self.warn(f"note: {text}")

    def warn(self, text: str) -> None:
        """See `View`."""
        Console(stderr=True).print(printable(text), markup=False, highlight=False, soft_wrap=True)

    def heading(self, text: str) -> None:
        """See `View`."""
        Console().print(Text(printable(text), style="bold"))

    def say(self, text: str) -> None:
        """See `View`."""
        Console().print(printable(text), markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def checking_images(self) -> Iterator[Count]:
        """See `View`."""
        console = Console(stderr=True)
        columns = (TextColumn("checked {task.completed:,} of {task.total:,} images"), BarColumn())
        with ProgressBar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("", total=0, visible=False)
            yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)

    @contextmanager
    def attacking(self, threat: str) -> Iterator[Share]:
        """See `View`."""
        console, said = Console(stderr=True), time.time()

        def show(share: float, _note: str) -> None:
            nonlocal said
            bar.update(task, completed=share)
            if not console.is_terminal and time.time() - said >= _LINE_EVERY:
                said = time.time()
                self.warn(f"{threat}: {percent(share)}")

        # without a terminal the bar would leave an empty line
        with ProgressBar(console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task(threat, total=1.0)
            yield show

    def units(self, units: Sequence[UnitFolder]) -> AbstractContextManager[UnitsView]:
        """See `View`."""
        return LiveView(units)


@final
class LiveView(UnitsView):
    """Shows one row per unit and a last one for all of them; plain lines where the output is no terminal.

    Args:
        units: In the order of the rows. Progress from before the view began is ignored.
        console: By default standard output.
    """

    def __init__(self, units: Sequence[UnitFolder], console: Console | None = None) -> None:
        self._units = {unit.name: unit for unit in units}
        # an Output: its failure ends no study
        output: Any = sys.stdout if isinstance(sys.stdout, Output) else Output(sys.stdout)
        self._console = console or Console(file=output, force_interactive=None if output.isatty() else False)
        # no refreshing thread: a run calls `refresh` a few times a second anyway
        self._live = Live(console=self._console, auto_refresh=False) if self._console.is_interactive else None
        self._began = time.time()
        self._now: dict[str, Progress] = {}
        self._said: dict[str, tuple[tuple[str, float] | None, float]] = {}
        self._ended: dict[str, tuple[str, str]] = {}
        self._logs: dict[str, list[str]] = {}
        self._queued: Mapping[str, str] = {}
        self._notice = ""

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        self.refresh({}, "")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refresh({}, "")
        if self._live:
            self._live.stop()
        else:
            self._say(self._overall())

    def refresh(self, queued: Mapping[str, str], notice: str) -> None:
        """See `UnitsView`: draw, or say what is new."""
        self._queued = queued
        if notice != self._notice:
            self._notice = notice
            if notice and not self._live:
                self._say(notice)
        for label, unit in self._units.items():
            progress = None if label in self._ended else read(unit.progress_file)
            # a unit that is back in the queue has left its last file behind
            if progress and progress.updated >= self._began and label not in self._queued:
                self._now[label] = progress
                if not self._live:
                    self._tell(label, progress)
        if self._live:
            self._live.update(self._drawn(), refresh=True)

    def finish(self, unit: UnitFolder) -> None:
        """See `UnitsView`."""
        self._end(unit.name, "finished", "")

    def fail(self, unit: UnitFolder, reason: str) -> None:
        """See `UnitsView`: the first line of the reason, and below it the last lines of the log."""
        self._logs[unit.name] = [line for line in unit.log_end() if line.strip() not in reason]
        self._end(unit.name, "failed", reason)

    def _end(self, label: str, state: str, text: str) -> None:
        reason = shown(next(iter(text.strip().splitlines()), ""), 200)
        self._ended[label] = state, reason
        if self._live:
            self.refresh(self._queued, self._notice)
        else:
            for line in (f"{label}: {state}{', ' if reason else ''}{reason}", *self._logs.get(label, ())):
                self._say(line)

    def _tell(self, label: str, progress: Progress) -> None:
        """Print a line when a stage begins, and every half minute while it lasts."""
        now, stage = time.time(), (progress.stage, progress.started)
        said, when = self._said.get(label, (None, 0.0))
        if said != stage:
            self._say(f"{label}: {progress.stage}")
        elif now - when >= _LINE_EVERY:
            self._say(f"{label}: {progress.stage} {percent(progress.share)}{time_left(progress, ', ')}")
        else:
            return
        self._said[label] = stage, now

    def _say(self, line: str) -> None:
        self._console.print(Text(shown(line, 500)), soft_wrap=True)

    def _drawn(self) -> Text:
        """Return the rows of all units, or of those that run or failed where the terminal has too few lines."""
        # rich cuts off what is taller than the terminal, and with it the last line, which counts all
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
