"""What trackers are told of a unit, also one that is stopped anywhere, and that no error of theirs reaches it."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from toys import job, same_bytes

from sat_core.arm import run_arm
from sat_core.errors import Interrupted, SpecError
from sat_core.ranking import run_ranking
from sat_core.run_folder import RunFolder
from sat_core.trackers import TRACKERS, TrackedUnit, Tracker, TrackerRun
from sat_core.tracking import summary_of, tracking

TRACKERS_FILE = "trackers.json"


class Book(Tracker):
    """A tracker that writes down what it is told, over all starts; each of its calls may fail."""

    name = "book"

    def __init__(self, remembers: bool = False, fails: Sequence[str] = ()) -> None:
        self.remembers, self.fails, self.calls = remembers, fails, list[tuple[str, Any]]()

    def check(self) -> None:
        return None

    def note(self, call: str, value: Any = None) -> None:
        self.calls.append((call, value))
        random.random()
        np.random.random()
        if call in self.fails:
            raise OSError(f"{call}\nfails")

    def start(self, unit: TrackedUnit) -> TrackerRun:
        self.note("start", unit)
        return Page(self, unit)

    @property
    def values(self) -> list[tuple[int, str, float]]:
        return [(epoch, tag, v) for call, (epoch, values) in self.of("log") for tag, v in values.items()]

    def of(self, *names: str) -> list[tuple[str, Any]]:
        return [call for call in self.calls if call[0] in names]


class Page(TrackerRun):
    def __init__(self, book: Book, unit: TrackedUnit) -> None:
        self._book, self.remembers, self.run_id = book, book.remembers, unit.run_id or "page-1"

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        self._book.note("log", (epoch, dict(values)))

    def finish(self, summary: Mapping[str, float], files: Sequence[Path]) -> None:
        self._book.note("finish", (dict(summary), [path.name for path in files]))

    def end(self, how: str) -> None:
        self._book.note("end", how)


def use(monkeypatch: pytest.MonkeyPatch, book: Book) -> Book:
    monkeypatch.setitem(TRACKERS._entries, "book", book)
    return book


def finish(folder: RunFolder, trackers: Sequence[str] = ("book",), **changes: Any) -> None:
    """A ranking and an arm."""
    for unit in (folder.ranking, folder.unit("half")):
        made = job(unit.path, **changes)
        with tracking(trackers, made, folder.title) as tracked:
            made = attrs.evolve(made, scalars=tracked)
            if unit.name == "ranking":
                ranking = run_ranking(made)
                tracked.finish()
            else:
                tracked.finish(run_arm(made, ranking))


def test_a_tracker_is_told_settings_values_and_the_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book, folder = use(monkeypatch, Book()), RunFolder(tmp_path / "digits")
    finish(folder)
    (_, ranking), (_, arm) = book.of("start")
    assert (ranking.study, ranking.name, arm.name, arm.run_id, arm.told) == ("digits", "ranking", "half", "", 0)
    assert (arm.params["training.lr"], arm.params["subset.size"]) == (0.05, 0.5)
    assert "subset.size" not in ranking.params
    tags = {"study": "digits", "arm": "half", "backend": "numpy", "device": "cpu", "data": "toy"}
    assert {key: arm.tags[key] for key in tags} == tags
    results = folder.unit("half").results()
    losses = [v for _, tag, v in book.values if tag == "loss"]
    assert losses[4:] == list(results.losses)
    (_, (nothing, of_ranking)), (_, (summary, files)) = book.of("finish")
    assert (nothing, of_ranking) == ({}, ["spec.toml", "ranking.npz"])
    assert summary == summary_of(results)
    assert summary["robust_accuracy"] == results.robust_accuracy.value
    expected = ["spec.toml", "results.json", "split.json", "examples.npz", "checkpoint-best.safetensors"]
    assert files == expected
    assert book.of("end") == [("end", "finished")] * 2
    kept = json.loads((folder.unit("half").path / TRACKERS_FILE).read_text())["book"]
    assert kept["run"] == "page-1"
    assert kept["last"]["loss"] == 4


@pytest.mark.parametrize("remembers", [False, True])
def test_stopped_anywhere_it_goes_on_with_the_same_run_and_repeats_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remembers: bool
) -> None:
    whole = use(monkeypatch, Book())
    finish(RunFolder(tmp_path / "whole"))
    book, folder, starts = use(monkeypatch, Book(remembers)), RunFolder(tmp_path / "broken"), 0
    while not folder.unit("half").has_results:
        calls, starts = iter(range(10**6)), starts + 1
        try:
            finish(folder, stop=lambda calls=calls, n=4 + starts: next(calls) >= n)
        except Interrupted:
            assert starts < 100
    assert starts > 3
    assert ("end", "stopped") in book.calls
    if remembers:
        # the run itself leaves out what it has: each start tells it everything
        assert set(book.values) == set(whole.values)
    else:
        assert sorted(book.values) == sorted(whole.values)
        later = [unit for _, unit in book.of("start") if unit.run_id]
        assert {unit.run_id for unit in later} == {"page-1"}
        assert later[-1].told > 0
    for each in ("whole", "broken"):
        for path in (tmp_path / each).rglob(TRACKERS_FILE):
            path.unlink()
    same_bytes(tmp_path / "whole", tmp_path / "broken")


@pytest.mark.parametrize("call", ["start", "log", "finish", "end"])
def test_no_error_of_a_tracker_reaches_the_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], call: str
) -> None:
    finish(RunFolder(tmp_path / "off"), trackers=())
    book, folder = use(monkeypatch, Book(fails=[call])), RunFolder(tmp_path / "on")
    random.seed(1)
    np.random.seed(1)
    finish(folder)
    assert (random.random(), np.random.random()) == (random.Random(1).random(), np.random.RandomState(1).random())
    # once for each unit, and then it is left alone
    assert len(book.of(call)) == 2
    says = f"book lacks what came after this error of its own: OSError: {call}"
    for unit in (folder.ranking, folder.unit("half")):
        (warning,) = unit.tracker_warnings()
        assert warning.startswith(says)
        assert "\n" not in warning
        (unit.path / TRACKERS_FILE).unlink()
    printed = capsys.readouterr().err.splitlines()
    assert [line.startswith(f"warning: {says}") for line in printed] == [True, True]
    same_bytes(tmp_path / "off", tmp_path / "on")


def test_after_an_error_the_next_start_tells_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = use(monkeypatch, Book())
    finish(RunFolder(tmp_path / "whole"))
    folder, calls = RunFolder(tmp_path / "broken"), iter(range(10**6))
    use(monkeypatch, Book(fails=["log"]))
    with pytest.raises(Interrupted):
        finish(folder, stop=lambda: next(calls) > 38)
    assert folder.unit("half").tracker_warnings()
    book = use(monkeypatch, Book())
    finish(folder)
    of_arm = [value for value in whole.values if value not in book.values]
    assert len(of_arm) <= 4 * 3  # at most those of the ranking, which was finished
    assert {tag for _, tag, _ in of_arm} <= {"loss", "learning_rate", "gradient_evaluations"}
    assert not folder.unit("half").tracker_warnings()


@pytest.mark.parametrize(
    "content", ["", "[]", '{"book": []}', '{"book": {"run": 3, "last": {"loss": "x"}, "told": 1.5}}']
)
def test_a_damaged_file_begins_a_new_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    book, folder = use(monkeypatch, Book()), RunFolder(tmp_path)
    calls = iter(range(10**6))
    with pytest.raises(Interrupted):
        finish(folder, stop=lambda: next(calls) > 38)
    (folder.unit("half").path / TRACKERS_FILE).write_text(content)
    finish(folder)
    assert [v for _, tag, v in book.values if tag == "loss"][-4:] == list(folder.unit("half").results().losses)


def test_names_of_studies_and_plug_ins(tmp_path: Path) -> None:
    assert RunFolder(tmp_path / "runs" / "digits").transfer("mnist5k").title == "digits-mnist5k"
    assert {"tensorboard", "mlflow", "wandb", "trackio"} <= {*TRACKERS.names()}
    with pytest.raises(SpecError, match="expected an object of the class Tracker"):
        TRACKERS.register("shelf", object())  # type: ignore[arg-type]
