"""`sat transfer`: heads on the arms of a study."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sat_command import HEAD, here, refused
from toys import OUTCOME, same_bytes

from sat_core.errors import EXIT_CONTINUE

pytestmark = pytest.mark.backend


def test_heads_on_every_arm_of_a_study(transferred: Path, finished: Path, target: str) -> None:
    printed = " ".join((transferred / "printed.txt").read_text().split())
    assert "taken at 8 x 8 pixels" in printed
    assert "ε = 0.5 (L2) holds there" in printed
    with (transferred / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["size"], row["n"]) for row in rows] == [("0", "20"), ("80", "20"), ("160", "20")]
    assert min(float(row["clean_all"]) for row in rows) > 0.3  # one in five by chance
    assert (transferred / "accuracy.png").stat().st_size > 0
    assert not (transferred / "matrix.png").exists()
    result = json.loads((transferred / "arms/size-0.5/results.json").read_text())
    assert (transferred / "arms/size-0.5" / result["source"]["run"]).resolve() == (finished / "arms/size-0.5").resolve()
    before = {path: path.stat().st_mtime_ns for path in transferred.rglob("results.json")}
    assert here("transfer", finished, "--data", target, "--out", transferred, *HEAD).returncode == 0
    assert before == {path: path.stat().st_mtime_ns for path in transferred.rglob("results.json")}


def test_a_head_on_one_arm_is_the_same(transferred: Path, finished: Path, target: str, tmp_path: Path) -> None:
    done = here("transfer", finished / "arms" / "size-0.5", "--data", target, "--out", tmp_path / "one", *HEAD)
    assert done.returncode == 0, done.stderr
    best = "arms/size-0.5/checkpoint-best.safetensors"
    assert (transferred / best).read_bytes() == (tmp_path / "one" / best).read_bytes()


@pytest.mark.torch  # heads go on as arms do, which `test_run_command.py` kills with both
def test_a_transfer_that_is_killed_goes_on(transferred: Path, finished: Path, target: str, tmp_path: Path) -> None:
    arguments = ["transfer", str(finished), "--data", target, "--out", str(tmp_path / "heads"), *HEAD]
    command = [sys.executable, "-m", "sat_evaluation.cli", *arguments, "--save-every", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    stage = "arms/*/checkpoint-last.safetensors"
    while process.poll() is None and not list((tmp_path / "heads").glob(stage)):
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=200)
    assert process.returncode == EXIT_CONTINUE, stderr
    assert here(*arguments).returncode == 0
    same_bytes(transferred / "arms", tmp_path / "heads" / "arms", OUTCOME)


@pytest.mark.torch  # files are compared, whichever framework wrote them
def test_a_finished_head_is_none_of_a_source_that_has_changed(
    finished: Path, target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, best = tmp_path / "size-0.5", "checkpoint-best.safetensors"
    shutil.copytree(finished / "arms" / "size-0.5", source)
    arguments = ["transfer", source, "--data", target, "--out", tmp_path / "heads", *HEAD]
    assert here(*arguments).returncode == 0
    (source / best).write_bytes((finished / "arms" / "size-1.0" / best).read_bytes())
    refused(capsys, arguments, "source.fingerprint")


def test_the_checkpoint_of_a_transfer_is_evaluated_on_scaled_images(transferred: Path, target: str) -> None:
    arm = transferred / "arms" / "size-1.0"
    done = here("evaluate", arm, "--data", target, "--attacks", "apgd-ce", "--out", transferred / "evaluated")
    assert done.returncode == 0, done.stderr
    (path,) = (transferred / "evaluated").glob("*.json")
    evaluation = json.loads(path.read_text())
    assert evaluation["clean_accuracy"]["all"]["n"] == 100
    assert evaluation["robust_accuracy"]["all"]["value"] < evaluation["clean_accuracy"]["all"]["value"]


def test_transfers_that_cannot_be_are_refused(
    finished: Path, transferred: Path, study: Path, target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", tmp_path / "out"]
    refused(
        capsys, ["transfer", tmp_path / "none", "--data", target, *out], "expected the folder of a study or of an arm"
    )
    refused(
        capsys, ["transfer", finished, "--data", target, *out, "--set", "epoch=3"], "did you mean 'transfer.epochs'"
    )
    refused(capsys, ["transfer", finished, "--data", "npz:/nowhere", *out], "no such file")
    refused(
        capsys,
        ["transfer", finished, "--data", target, *out, "--set", "batch_size=999"],
        "transfer.batch_size: expected",
    )
    refused(capsys, ["transfer", finished, "--data", target, "--out", transferred], "holds another experiment")
    targets = ["--set", f'transfer.targets=["{target}"]', "--set", "transfer.batch_size=201"]
    for more in ([], ["--dry-run"]):
        says = "transfer.batch_size: expected at most the 200 training examples, got 201"
        refused(capsys, ["run", study, *out, *targets, *more], says)
    inside = ["--out", finished / "arms" / "heads"]
    refused(capsys, ["transfer", finished, "--data", target, *inside], "expected a folder outside of the source")
    unfinished = tmp_path / "study"
    shutil.copytree(finished, unfinished)
    (unfinished / "arms" / "size-0.5" / "results.json").unlink()
    refused(capsys, ["transfer", unfinished, "--data", target, *out], "1 of 3 arms are not finished (size-0.5)")
    assert not (tmp_path / "out").exists()


@pytest.mark.torch  # which units are left to run is nothing of a framework's
def test_a_study_with_a_target_more_trains_only_the_heads(
    finished: Path, study: Path, target: str, tmp_path: Path
) -> None:
    out = tmp_path / "study"
    shutil.copytree(finished, out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("results.json")}
    settings = ["--set", f'transfer.targets=["{target}"]', "--set", "transfer.epochs=2"]
    done = here("run", study, "--out", out, *settings)
    assert done.returncode == 0, done.stderr
    heads = list(out.glob("transfer/*/arms/*/results.json"))
    assert len(heads) == 3
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("results.json") if path not in heads}
    assert "holds there" in done.stdout
