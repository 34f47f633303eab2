"""The record of `gpu.py`: a folder with results.json and results.md, written after each measurement."""

from __future__ import annotations

import math
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sat_core.files import read_json, write_json, write_text

Row = dict[str, Any]
"""What one measurement gives, by the heads of its columns; those that begin with "_" are for other measurements."""
WARNINGS = "_warnings"
"""Lines that were warned of, such as that a step could not be captured."""


class TimeIsUp(BaseException):
    """Raised where the time runs out; no `except Exception` of a library stops it."""


@dataclass(frozen=True)
class Measurement:
    """One measurement.

    Args:
        name: Of its row, unique in its section.
        measure: Gives the row.
    """

    name: str
    measure: Callable[[], Row]


@dataclass(frozen=True)
class Section:
    """Measurements that belong together.

    Args:
        name: Its title.
        share: How much of the time it may use, beside the other sections; what one leaves, the next may have.
        measurements: In the order of worth. Made when the section begins.
    """

    name: str
    share: float
    measurements: Callable[[], Iterable[Measurement]]


@contextmanager
def until(deadline: float) -> Iterator[None]:
    """Raise TimeIsUp inside when `time.monotonic()` passes `deadline`."""

    def stop(*_: Any) -> None:
        raise TimeIsUp

    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeIsUp
    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, min(left, 1e6))
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Log:
    """The rows of all measurements by section and name.

    Args:
        folder: Where they are kept. Measurements that are there already are not repeated; those that failed are.
        facts: Of machine and versions. A folder with other facts is refused.
        summary: Makes the lines above the tables, from the log.
    """

    def __init__(self, folder: Path, facts: dict[str, str], summary: Callable[[Log], str]) -> None:
        self.folder, self.facts, self._summary = folder, facts, summary
        self.rows: dict[str, dict[str, Row]] = {}
        self.errors: dict[str, str] = {}
        self._json = folder / "results.json"
        if self._json.exists():
            content = read_json(self._json)
            if content["facts"] != facts:
                different = [key for key in facts if content["facts"].get(key) != facts[key]]
                raise SystemExit(
                    f"--out {folder}: holds measurements with another {', '.join(different)}; give another folder"
                )
            self.rows = content["rows"]

    def row(self, section: str, name: str) -> Row:
        """Return a row; empty if it has not been measured."""
        return self.rows.get(section, {}).get(name, {})

    def run(self, sections: list[Section], seconds: float = math.inf) -> None:
        """Make the measurements that are not there yet. Stops in time: first each section has its share, then what is
        left goes to all that are not finished, in the same order.
        """
        start, whole = time.monotonic(), sum(section.share for section in sections)
        used = 0.0
        for section in sections:
            used += section.share
            self._section(section, start + seconds * used / whole)
        if math.isfinite(seconds):
            for section in sections:
                self._section(section, start + seconds)
        self.write()

    def _section(self, section: Section, deadline: float) -> None:
        longest = 0.0
        for measurement in section.measurements():
            key = f"{section.name}: {measurement.name}"
            begin = time.monotonic()
            if self.row(section.name, measurement.name) or key in self.errors:
                continue
            # One that would be broken off is not begun: its time is better spent on the next section.
            if begin + longest >= deadline:
                return
            try:
                with warnings.catch_warnings(record=True) as caught, until(deadline):
                    warnings.simplefilter("default")
                    row = measurement.measure()
                if lines := dict.fromkeys(str(warning.message).strip() for warning in caught):
                    row[WARNINGS] = list(lines)
            except TimeIsUp:
                print(f"{key}: not reached in time", flush=True)
                return
            except Exception as error:  # the others are measured all the same
                self.errors[key] = "".join(traceback.format_exception(error))
                print(f"{key}: failed\n{self.errors[key]}", flush=True)
            else:
                self.rows.setdefault(section.name, {})[measurement.name] = row
                print(f"{key}: {', '.join(f'{head} {cell(value)}' for head, value in shown(row))}", flush=True)
            longest = max(longest, time.monotonic() - begin)
            self.write()

    def write(self) -> None:
        """Write both files."""
        write_json(self._json, {"facts": self.facts, "rows": self.rows, "errors": self.errors})
        write_text(self.folder / "results.md", self.page())

    def page(self) -> str:
        """Return everything as Markdown."""
        facts = ", ".join(f"{name} {value}" for name, value in self.facts.items())
        parts = ["# Measurements of `benchmarks/gpu.py`", facts + ".", self._summary(self)]
        for section, rows in self.rows.items():
            parts.append(f"## {section[0].upper()}{section[1:]}")
            kinds: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
            for name, row in rows.items():
                heads = tuple(head for head, _ in shown(row))
                kinds.setdefault(heads, []).append((name, *(cell(value) for _, value in shown(row))))
            parts += [table(("", *heads), *lines) for heads, lines in kinds.items()]
            warned = [f"- {name}: {line}" for name, row in rows.items() for line in row.get(WARNINGS, ())]
            parts += ["Warnings:\n\n" + "\n".join(warned)] if warned else []
        if self.errors:
            parts.append("## Failed")
            parts += [
                f"{key}: {text.splitlines()[-1]}; results.json has the traceback" for key, text in self.errors.items()
            ]
        return "\n\n".join(parts) + "\n"


def shown(row: Row) -> list[tuple[str, Any]]:
    """Return the columns of a row that belong into a table."""
    return [(head, value) for head, value in row.items() if not head.startswith("_")]


def cell(value: Any) -> str:
    """Return a value as text, numbers with three digits at least."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


def table(*lines: tuple[str, ...]) -> str:
    """Return a Markdown table; the first line is its head."""
    head, *rest = lines
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ("---",) * len(head), *rest))
