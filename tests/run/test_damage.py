"""Every file of a run, damaged: it is made anew, or an error says which file to delete, and then the run goes on."""

from __future__ import annotations

import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from toys import pgd_evaluator, same_bytes, toy

from sat_core import backend, datasets, evaluator
from sat_core.errors import SatError
from sat_core.reference import NumpyBackend
from sat_core.registry import Registry
from sat_core.run_folder import RANKING, RunFolder
from sat_core.study import Study
from sat_core.unit_folder import UnitFolder
from sat_evaluation.cli import main
from sat_evaluation.run import preflight, studies, worker
from sat_evaluation.run.executors.base import Executor, Outcome, Tick, Unit
from sat_evaluation.run.executors.processes import WORKER_STOPS
from sat_evaluation.run.status import statuses

STUDY = Study.loads("""
data.name = "toy"
model.name = "linear"
[training]
epochs = 4
batch_size = 16
lr = 0.05
[evaluation]
selection_share = 0.3
[grid]
subset.size = [0.5, 1.0]
""")
ONE, OTHER = (f"arms/{arm.name}" for arm in STUDY.arms)
FILES = {
    "spec.toml": None,
    "summary.csv": None,
    "ranking/spec.toml": ONE,
    "ranking/checkpoint-last.safetensors": ONE,
    "ranking/seconds.json": ONE,
    "ranking/ranking.npz": None,
    "ranking/progress.json": ONE,
    **{
        f"{ONE}/{name}": OTHER
        for name in (
            "spec.toml",
            "split.json",
            "selection.json",
            "checkpoint-best.safetensors",
            "checkpoint-last.safetensors",
            "seconds.json",
            "examples.npz",
            "results.json",
            "progress.json",
            "failed.json",
        )
    },
}
"""Files of the run, and the folder that has one of the same name and of another arm."""


TOLD = ("failed.json", "progress.json", "summary.csv")
"""Files that no run reads; some have times."""


class Here(Executor):
    """Units run one after the other in this process."""

    def run(self, folder: RunFolder, units: Sequence[Unit], device: str, tick: Tick) -> Outcome:
        outcome = Outcome()
        for unit in units:
            if RANKING in outcome.failed and unit.after_ranking:
                continue
            try:
                worker.run_unit(folder, unit.name, save_every=0.0)
                outcome.done.append(unit.name)
            except SatError as error:
                outcome.failed[unit.name] = folder.unit(unit.name).record_failure("; ".join(str(error).splitlines()))
        return outcome


@pytest.fixture(autouse=True)
def registries(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for module, table, name, entry in (
        (backend, "BACKENDS", "numpy", NumpyBackend),
        (datasets, "DATASETS", "toy", lambda _path: toy()),
        (evaluator, "EVALUATORS", "autoattack", pgd_evaluator),
    ):
        registry: Registry[Any] = Registry(name)
        registry.register(name, entry)
        monkeypatch.setattr(module, table, registry)
    monkeypatch.setitem(sys.modules, "sat_evaluation.figures.styled", None)  # no plots: they take longer than the rest
    monkeypatch.setattr(preflight, "find_package", lambda: None)
    handlers = {number: signal.getsignal(number) for number in WORKER_STOPS}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def run(out: Path) -> None:
    studies.run_study(STUDY, out, backend="numpy", executor=Here())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs") / "whole"


@pytest.fixture
def finished(whole: Path) -> Path:
    """A study run to its end, once."""
    if not whole.exists():
        run(whole)
        for folder in (ONE, OTHER, "ranking"):
            UnitFolder(whole / folder).record_failure("")
    return whole


def test_the_list_of_files_is_complete(finished: Path) -> None:
    names = {str(path.relative_to(finished)) for path in finished.rglob("*") if path.is_file()}
    assert {name for name in names if not name.startswith(OTHER) and ".lock" not in name} == {
        *FILES,
        "ranking/failed.json",
    }


def _remedy(out: Path, said: str) -> tuple[str, str]:
    """Return what an error tells the user to do, and to which file."""
    remedies = re.findall(rf"(delete|empty) ({re.escape(str(out))}\S+[a-z])", said)
    if not remedies:  # of another arm, but whole: nobody but the user knows how it came there
        folder = re.findall(rf"({re.escape(str(out))}\S+): holds another experiment", said)[0]
        return "empty", f"{folder}/spec.toml"
    return remedies[0]


DAMAGES: dict[str, Callable[[bytes, bytes], bytes]] = {
    "empty": lambda _content, _other: b"",
    "cut": lambda content, _other: content[: len(content) // 2],
    "other": lambda _content, other: other,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_made_anew_or_named(
    name: str, damage: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    unfinished = {f"{ONE}/results.json", "ranking/ranking.npz"} - {name}
    for path in unfinished:
        (out / path).unlink()
    there = FILES[name]
    other = (finished / there / Path(name).name) if there else Path("nowhere")
    content = DAMAGES[damage]((out / name).read_bytes(), other.read_bytes() if other.exists() else b"[]\n")
    (out / name).write_bytes(content)
    assert main(["status", str(out)]) in (0, 2)
    assert len(capsys.readouterr().err.splitlines()) <= 3
    for _ in range(3):
        try:
            run(out)
            break
        except SatError as error:
            said = str(error)
            assert len(said.splitlines()) <= 3, said
            act, path = _remedy(out, said)
            assert Path(path).exists()
            Path(path).unlink()
            if act == "empty":
                Path(path).touch()
    assert all(unit.state == "finished" for unit in statuses(RunFolder(out)))
    expected = tmp_path / "expected"
    shutil.copytree(finished, expected)
    for path in [path for folder in (out, expected) for path in folder.rglob("*.*") if path.name in TOLD]:
        path.unlink()
    same_bytes(expected, out)


@pytest.mark.report
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_report_shows_what_is_whole(damage: str, finished: Path, tmp_path: Path) -> None:
    from sat_evaluation.report.page import write_report

    for number, name in enumerate(("spec.toml", "ranking/ranking.npz", f"{ONE}/results.json", f"{ONE}/examples.npz")):
        out = tmp_path / str(number)
        shutil.copytree(finished, out)
        (out / name).write_bytes(DAMAGES[damage]((out / name).read_bytes(), b"[]\n"))
        with suppress(SatError):
            assert write_report([out]).stat().st_size > 0
