"""Progress files and the view of them, on a terminal and elsewhere."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sat_core.unit_folder import UnitFolder
from sat_evaluation.cli import live_view
from sat_evaluation.cli import unit_rows as rows
from sat_evaluation.cli.live_view import LiveView
from sat_evaluation.run import progress
from sat_evaluation.run.output import Output, standard_streams
from sat_evaluation.run.progress import Progress, ProgressFile, read


class Clock:
    """Stands in for `time`; the test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    for module in (progress, live_view, rows):
        monkeypatch.setattr(module, "time", clock)
    return clock


def view(units: list[UnitFolder], *, terminal: bool, width: int = 80, height: int = 24) -> tuple[LiveView, io.StringIO]:
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, force_interactive=terminal, width=width, height=height)
    return LiveView(units, console), output


def lines(output: io.StringIO) -> list[str]:
    return output.getvalue().splitlines()


def frame(output: io.StringIO, view: LiveView) -> str:
    """What one refresh draws, without colours."""
    output.truncate(0)
    output.seek(0)
    view.refresh({}, "")
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.getvalue()).strip()


def test_round_trip(clock: Clock, tmp_path: Path) -> None:
    path = tmp_path / "arms" / "progress.json"
    report = ProgressFile(path)
    report("training", 2, 30, "loss 0.31")
    assert read(path) == Progress("training", 2, 30, "loss 0.31", 1000.0, 1000.0, 2)
    clock.now = 1010.0
    report("training", 4, 30)
    assert read(path) == Progress("training", 4, 30, "", 1000.0, 1010.0, 2)
    assert {"stage", "done", "total", "note", "started", "updated"} <= set(json.loads(path.read_text()))
    assert [p.name for p in path.parent.iterdir()] == ["progress.json"]


def test_at_most_two_writes_a_second_but_every_start_and_end(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "progress.json"
    written: list[tuple[str, float]] = []
    replace = os.replace

    def recorded(source: Path, target: Path) -> None:
        replace(source, target)
        progress = read(path)
        assert progress is not None
        written.append((progress.stage, progress.done))

    monkeypatch.setattr(progress.os, "replace", recorded)
    report = ProgressFile(path)
    for done in range(11):
        clock.now += 0.125
        report("training", done, 10)
    report("selection", 0, 5)
    report("selection", 1, 5)
    report("selection", 0, 5)  # the next check is a stage of its own
    assert written == [
        ("training", 0), ("training", 4), ("training", 8), ("training", 10), ("selection", 0), ("selection", 0),
    ]  # fmt: skip


def test_a_write_that_fails_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ProgressFile(tmp_path / "file" / "progress.json")("training", 1, 2)


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        '{"stage": "tra',
        "[]",
        "3",
        "\xff",
        '{"stage": "a"}',
        '{"stage": "a", "done": null, "total": 1, "note": "", "started": 1, "updated": 1, "first": 0}',
        '{"stage": "a", "done": NaN, "total": 1, "note": "", "started": 1, "updated": 1, "first": 0}',
    ],
)
def test_missing_and_half_files_are_no_progress(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    if content is not None:
        path.write_bytes(content.encode("latin-1"))
    assert read(path) is None


def test_share_and_time_left() -> None:
    p = Progress("training", 30, 50, "", started=100.0, updated=120.0, first=20)
    assert p.share == 0.6
    assert p.left(now=120.0) == 40.0  # 10 of them took 20 s: the first 20 are an earlier process's
    assert p.left(now=130.0) == 30.0
    assert p.left(now=1000.0) == 0.0
    assert Progress("training", 20, 50, "", 100.0, 120.0, 20).left(120.0) is None
    assert Progress("x", 0, 0, "", 1.0, 2.0).share == 0.0
    assert Progress("x", 9, 3, "", 1.0, 2.0).share == 1.0


def test_plain_lines_say_what_is_new_and_nothing_twice(clock: Clock, tmp_path: Path) -> None:
    one, other = units = [UnitFolder(tmp_path / name) for name in ("size-0.1", "size-0.3")]
    shown, output = view(units, terminal=False)
    report = ProgressFile(one.progress_file)
    with shown:
        shown.refresh({}, "")
        assert lines(output) == []
        report("training", 0, 100)
        shown.refresh({}, "")
        shown.refresh({}, "")
        for _ in range(7):
            clock.now += 10
            report("training", (clock.now - 1000) / 4, 100)
            shown.refresh({}, "")
        report("selection", 0, 1)
        shown.refresh({}, "")
        shown.finish(one)
        shown.fail(other, "TrainingError: no number\nTraceback (most recent call last)\x1b[31m")
        report("evaluation", 0, 1)  # too late to be of interest
        shown.refresh({}, "")
    assert lines(output) == [
        "size-0.1: training",
        "size-0.1: training 8 %, 6 min left",
        "size-0.1: training 15 %, 6 min left",
        "size-0.1: selection",
        "size-0.1: finished",
        "size-0.3: failed, TrainingError: no number",
        "1 of 2 finished · 1 failed · 70 s",
    ]


def test_plain_lines_have_no_control_characters(clock: Clock, tmp_path: Path) -> None:
    unit = UnitFolder(tmp_path / "a\x1b[2J")
    shown, output = view([unit], terminal=False, width=30)
    with shown:
        ProgressFile(unit.progress_file)("tr\raining", 0, 1)
        shown.refresh({}, "")
        shown.fail(unit, "[red]" + "long " * 20 + "\x07")
    text = output.getvalue()
    assert all(c.isprintable() or c == "\n" for c in text)
    assert len(text.splitlines()) == 3
    assert "[red]long" in text


@pytest.mark.parametrize("terminal", [False, True])
def test_files_from_before_are_ignored(terminal: bool, clock: Clock, tmp_path: Path) -> None:
    ProgressFile(UnitFolder(tmp_path / "a").progress_file)("training", 50, 100)
    clock.now += 1
    shown, output = view([UnitFolder(tmp_path / "a")], terminal=terminal)
    with shown:
        pass
    assert "training" not in output.getvalue()
    assert "0 of 1 finished · 1 waiting" in output.getvalue()


def test_terminal_rows(clock: Clock, tmp_path: Path) -> None:
    names = ["waits", "runs", "done", "a name that is far too long for a row", "broken"]
    units = {name: UnitFolder(tmp_path / name) for name in names}
    shown, output = view(list(units.values()), terminal=True)
    report = ProgressFile(units["runs"].progress_file)
    with shown:
        report("training", 0, 30)
        clock.now += 30
        report("training", 15, 30, "loss [b]0.31[/b] and more words than there is room for")
        shown.finish(units["done"])
        shown.fail(units["broken"], "DataError: no such file\nsecond line")
        lines = [line.rstrip() for line in frame(output, shown).splitlines()]
    rows = {line.split("  ")[0].strip(): line for line in lines}
    assert list(rows) == ["waits", "runs", "done", "a name that is far to…", "broken", lines[-1]]
    assert rows["waits"].endswith("waiting")
    assert "training   ━━━━━━──────  50 %   30 s left  loss [b]" in rows["runs"]
    assert rows["done"].endswith("finished")
    assert rows["broken"].endswith("failed     DataError: no such file")
    assert lines[-1] == "1 of 5 finished · 1 failed · 1 running · 2 waiting · 30 s"
    assert max(map(len, lines)) <= 80


def test_more_units_than_lines_shows_those_that_run_or_failed(clock: Clock, tmp_path: Path) -> None:
    units = [UnitFolder(tmp_path / f"arm-{i}") for i in range(20)]
    shown, output = view(units, terminal=True, height=8)
    with shown:
        for i in (3, 17):
            ProgressFile(units[i].progress_file)("training", 1, 2)
        shown.finish(units[1])
        shown.fail(units[9], "reason")
        text = frame(output, shown)
    assert [line.split()[0] for line in text.splitlines()] == ["arm-3", "arm-9", "arm-17", "1"]
    assert "1 of 20 finished · 1 failed · 2 running · 16 waiting" in text


def test_the_terminal_is_left_as_it_was_after_an_error(tmp_path: Path) -> None:
    shown, output = view([UnitFolder(tmp_path / "a")], terminal=True)

    def broken() -> Any:
        with shown:
            raise KeyError

    with pytest.raises(KeyError):
        broken()
    hidden, visible = "\x1b[?25l", "\x1b[?25h"
    assert output.getvalue().rindex(visible) > output.getvalue().rindex(hidden)


def no_reader() -> Any:
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w", buffering=1)


def full() -> Any:
    return open("/dev/full", "w", buffering=1)


def closed() -> Any:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("make", [no_reader, full, closed, lambda: None])
def test_output_that_fails_ends_nothing(
    make: Callable[[], Any], terminal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = make()
    with standard_streams() as output:
        monkeypatch.setattr(sys, "stdout", Output(stream))
        unit = UnitFolder(tmp_path / "a")
        shown = LiveView([unit], Console(file=sys.stdout, force_terminal=True) if terminal else None)
        with shown:
            ProgressFile(unit.progress_file)("training", 1, 2)
            shown.refresh({}, "")
            print("a line")  # noqa: T201
            shown.fail(unit, "reason")
        assert (sys.stdout.error is None) == (stream is None)  # type: ignore[attr-defined]
        sys.stdout.close()
        assert output.error is None
    if stream is not None:
        stream.close()  # nothing is left in its buffer


@pytest.mark.parametrize(("encoding", "expected"), [("ascii", "? = 0.5 ? ?"), ("latin-1", "? = 0.5 ·  ?")])
def test_characters_that_the_output_lacks_are_question_marks(encoding: str, expected: str) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    output = Output(stream)
    output.write("ε = 0.5 · \udcff" if encoding == "ascii" else "ε = 0.5 ·  \udcff")
    output.flush()
    assert output.error is None
    assert stream.buffer.getvalue().decode(encoding) == expected  # type: ignore[attr-defined]


def test_attacks_leave_a_line_every_half_minute_where_there_is_no_terminal(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with live_view.Terminal().attacking("L2 ε = 0.5") as show:
        for share in (0.1, 0.2, 0.3):
            show(share, "")
            clock.now += 20
    assert capsys.readouterr().err == "L2 ε = 0.5: 30 %\n"
