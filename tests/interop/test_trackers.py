"""MLflow, Weights & Biases and trackio, all offline: what they were told of arms, read back from what they keep."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from toys import digits, job, same_bytes

from sat_core.arm import run_arm
from sat_core.errors import Interrupted
from sat_core.run_folder import RunFolder
from sat_core.tracking import summary_of, tracking

pytestmark = [pytest.mark.interop, pytest.mark.filterwarnings("ignore")]

STUDY = """
data.name = "npz:five.npz"
model.name = "small-cnn"
attack.eps = 0.5
training = {epochs = 2, batch_size = 16, lr = 0.02}
evaluation = {selection_share = 0.3, selection_attacks = ["apgd-ce"], attacks = ["apgd-ce"], examples = 5}
grid.subset.size = [0.5, 1.0]
"""
PLACES = [os.path.abspath(part) for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
"""Where modules are that are not installed; read before the working directory changes."""
Curves = dict[str, list[tuple[int, float]]]
"""Tags to epochs and values, in the order in which they are kept."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and no settings of whoever runs this test."""
    for name in [name for name in os.environ if name.startswith(("MLFLOW", "WANDB", "TRACKIO"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def finish(folder: RunFolder, trackers: tuple[str, ...]) -> None:
    """Run an arm that is stopped twice in its training."""
    unit, limits = folder.unit("half"), iter((7, 9, 10**6))
    while not unit.has_results:
        calls, limit = iter(range(10**6)), next(limits)
        keys = {"subset.strategy": "random"}
        made = job(unit.path, keys=keys, stop=lambda calls=calls, limit=limit: next(calls) > limit)
        try:
            with tracking(trackers, made, folder.title) as tracked:
                made = attrs.evolve(made, scalars=tracked)
                tracked.finish(run_arm(made))
        except Interrupted:
            # W&B names the folder of an offline start by its second; no two processes start within one
            time.sleep(1.01 - time.time() % 1)
    assert next(limits, None) is None, "it was to be stopped twice"


def of_mlflow(place: Path) -> tuple[Curves, dict[str, Any], dict[str, Any], list[str]]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{place}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    assert (run.info.run_name, run.info.status) == ("half", "FINISHED")
    assert (run.data.tags["backend"], run.data.tags["data"], run.data.tags["study"]) == ("numpy", "toy", "digits")
    histories = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    curves = {name: [(point.step, point.value) for point in points] for name, points in histories.items()}
    files = [artifact.path for artifact in client.list_artifacts(run.info.run_id)]
    return curves, _summary(curves), run.data.params, files


def of_trackio(place: Path) -> tuple[Curves, dict[str, Any], dict[str, Any], list[str]]:
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    (run,) = trackio.Api().runs("digits")
    assert (run.name, run.config["backend"], run.config["study"]) == ("half", "numpy", "digits")
    curves: Curves = {}
    for row in SQLiteStorage.get_logs("digits", "half"):
        for name in row.keys() - {"step", "timestamp"}:
            curves.setdefault(name, []).append((row["step"], row[name]))
    (artifact,) = SQLiteStorage.get_run_artifacts("digits", "half", run.id)["output"]
    files = SQLiteStorage.get_artifact_manifest("digits", artifact["name"], "latest")
    return curves, _summary(curves), run.config, [str(files)]


def ended(path: Path) -> list[Any]:
    """Records of W&B, once its own process has written the last of them, soon after the run has ended in this one."""
    from wandb.proto.wandb_internal_pb2 import Record

    for _ in range(600):
        records = [Record.FromString(record) for record in leveldb_records(path)]
        if any(record.HasField("exit") for record in records):
            return records
        time.sleep(0.1)
    raise AssertionError(f"{path} has no end")


def of_wandb(place: Path) -> tuple[Curves, dict[str, Any], dict[str, Any], list[str]]:
    curves, summary, config, files, ids = Curves(), dict[str, Any](), dict[str, Any](), list[str](), list[str]()
    rows = []
    for path in sorted(place.glob("wandb/offline-run-*/*.wandb")):
        for record in ended(path):
            ids += [record.run.run_id] * record.HasField("run")
            if record.HasField("run"):
                run = record.run
                assert (run.display_name, run.run_group, run.project) == ("half", "digits", "sat-core")
                assert {"backend: numpy", "data: toy"} <= {*run.tags}
            config |= {item.key: item.value_json for item in record.run.config.update}
            summary |= {item.key: float(item.value_json) for item in record.summary.update if item.key in SUMMARY}
            files += [entry.path for entry in record.artifact.manifest.contents]
            if record.history.item:
                rows.append({"/".join(i.nested_key) or i.key: float(i.value_json) for i in record.history.item})
    assert len(ids) == 3  # one for each start
    assert len({*ids}) == 1
    # else its server drops rows
    assert [row["_step"] for row in rows] == list(range(len(rows)))
    for row in rows:
        for name in [name for name in row if not name.startswith("_") and name != "epoch"]:
            curves.setdefault(name, []).append((int(row["epoch"]), row[name]))
    return curves, summary, config, files


SUMMARY = ("clean_accuracy", "robust_accuracy", "robust_accuracy_low", "n", "share", "attack_gradients")


def _summary(curves: Curves) -> dict[str, float]:
    return {name: curves[f"summary/{name}"][0][1] for name in SUMMARY}


def leveldb_records(path: Path) -> Iterator[bytes]:
    """Records of a file in LevelDB's log format, behind the 7 bytes of W&B."""
    content, at, record = path.read_bytes(), 7, b""
    while at + 7 <= len(content):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        length, kind = struct.unpack("<HB", content[at + 4 : at + 7])
        if at + 7 + length > len(content):
            return  # the rest is not written yet
        record += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


READERS: dict[str, Callable[[Path], Any]] = {"mlflow": of_mlflow, "wandb": of_wandb, "trackio": of_trackio}


@pytest.mark.parametrize("tracker", READERS)
def test_it_has_all_of_an_arm_that_was_stopped_twice(place: Path, tracker: str, request: Any) -> None:
    if tracker == "trackio":
        request.getfixturevalue("trackio_here")
    off, folder = RunFolder(place / "off"), RunFolder(place / "digits")
    finish(off, ())
    finish(folder, (tracker,))
    unit = folder.unit("half")
    assert unit.tracker_warnings() == []
    results = unit.results()
    curves, summary, params, files = READERS[tracker](place)
    assert curves["loss"] == [(epoch, pytest.approx(value)) for epoch, value in enumerate(results.losses, 1)]
    checks = [(check.epoch, pytest.approx(check.robust.all.value)) for check in results.selection.checks]
    assert curves["selection/robust_accuracy"] == checks
    reported = (results.selection.epoch, pytest.approx(results.robust_accuracy.value))
    assert curves["report/robust_accuracy"] == [reported]
    assert summary == pytest.approx({name: summary_of(results)[name] for name in SUMMARY})
    assert float(params["training.lr"]) == 0.05
    assert float(params["subset.size"]) == 0.5
    for name in ("results.json", "spec.toml", "checkpoint-best.safetensors"):
        assert any(name in file for file in files), (name, files)
    (unit.path / "trackers.json").unlink()
    same_bytes(off.path, folder.path)


@pytest.fixture
def trackio_here(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """trackio looks for its folder when it is imported."""
    for name in [name for name in sys.modules if name.split(".")[0] == "trackio"]:
        monkeypatch.delitem(sys.modules, name)


def test_arms_side_by_side_are_runs_of_one_study(place: Path) -> None:
    digits(place / "five.npz")
    (place / "study.toml").write_text(STUDY)
    trackers = [word for name in READERS for word in ("--track", name)]
    done = sat("run", "study.toml", "--out", "digits", "--jobs", "3", *trackers)
    assert done.returncode == 0, done.stderr
    assert "lacks" not in done.stderr
    names = ["ranking", "size-0.5", "size-1.0"]
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{place}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    assert sorted(run.info.run_name for run in runs) == names
    assert len(list(place.glob("wandb/offline-run-*"))) == 3
    assert all(RunFolder(place / "digits").unit(name).trackers().keys() == READERS.keys() for name in names)


def test_a_library_that_is_missing_is_named_before_anything_starts(place: Path) -> None:
    (place / "study.toml").write_text(STUDY)
    for name, says in (
        ("mlflow", "sat: --track mlflow needs mlflow: pip install mlflow\n"),
        ("mlfow", "sat: --track: unknown tracker 'mlfow' (did you mean 'mlflow'?)\n"),
    ):
        done = sat("run", "study.toml", "--out", "none", "--track", name, hide="mlflow")
        assert done.returncode == 2
        assert done.stderr.startswith(says)
    assert not (place / "none").exists()


def sat(*arguments: str, hide: str = "") -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.modules[{hide!r}] = None\n" if hide else "import sys\n"
    code += "from sat_evaluation.cli import main\nsys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-W", "ignore", "-c", code, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(PLACES)}
    )
