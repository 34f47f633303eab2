"""`sat evaluate --calibration --corruptions`, of a checkpoint and of the arms of a study."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sat_command import here, refused
from toys import job, toy

from sat_core.calibration import CalibrationSummary, calibration
from sat_core.corrupted import CorruptionSummary
from sat_core.errors import Interrupted
from sat_core.files import read_npz
from sat_core.reference import NumpyBackend
from sat_core.unit_folder import UnitFolder
from sat_evaluation.run.measures import Measures, measure
from sat_evaluation.run.target import Target
from sat_evaluation.run.view import Silent

pytestmark = pytest.mark.backend


def test_the_arms_of_a_study(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    before = {path: path.read_bytes() for path in run.rglob("results.json")}
    command = ["evaluate", run, "--calibration", "--corruptions", "--arms", "size-0.5"]
    done = here(*command)
    assert done.returncode == 0, done.stderr
    assert "ECE" in done.stdout
    assert "motion-blur" in done.stdout
    folder = UnitFolder(run / "arms/size-0.5")
    calibrated = CalibrationSummary.from_json(json.loads(folder.measured_file("calibration").read_text()))
    arrays = read_npz(folder.evaluation_file("calibration"), "label", "logits", "adversarial_logits")
    assert calibrated.clean == calibration(arrays["logits"], arrays["label"])
    assert calibrated.adversarial == calibration(arrays["adversarial_logits"], arrays["label"])
    assert (calibrated.norm, calibrated.eps) == ("L2", 0.5)
    assert calibrated.clean.accuracy == folder.results().clean_accuracy.value
    assert folder.measured_file("calibration", ".svg").read_text().count("ECE") == 2
    corrupted = CorruptionSummary.from_json(json.loads(folder.measured_file("corruptions").read_text()))
    flags = read_npz(folder.evaluation_file("corruptions"), "clean", "fog")
    assert corrupted.clean == folder.results().clean_accuracy
    assert [each.value for each in corrupted.accuracy["fog"]] == flags["fog"].mean(axis=1).tolist()
    assert corrupted.experiment == calibrated.experiment == folder.results().experiment
    assert before == {path: path.read_bytes() for path in before}
    # The same images again, to the byte.
    kept = folder.evaluation_file("corruptions").read_bytes()
    assert here(*command).returncode == 0
    assert folder.evaluation_file("corruptions").read_bytes() == kept


def test_a_checkpoint(finished: Path, study: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", finished / "arms/size-0.5/checkpoint-best", "--data", f"npz:{study.parent / 'five.npz'}"]
    arguments += ["--examples", 20, "--out", tmp_path / "out", "--norm", "Linf", "--eps", "0.1"]
    done = here(*arguments, "--calibration")
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "out").glob("*-calibration-*.json")
    content = json.loads(path.read_text())
    summary = CalibrationSummary.from_json(content)
    assert (summary.clean.examples, summary.norm, summary.eps) == (20, "Linf", 0.1)
    assert content["network"]["weights"]["file"] == "checkpoint-best.safetensors"
    assert path.with_suffix(".png").exists()
    assert np.isfinite(read_npz(path.with_suffix(".npz"), "logits")["logits"]).all()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--norm", "Linf"], "--norm: Linf needs --eps, as the training was with L2"),
        (["--norm", "L1", "--eps", "12"], "'L1'"),
        (["--norm", "Linf", "--eps", "0.1", "0.2"], "--eps: expected one with --calibration, got 2"),
        (["--level", "screening"], "--level: for AutoAttack only, which --calibration and --corruptions do not run"),
        (["--attacks", "apgd-ce"], "--attacks: for AutoAttack only, which --calibration and --corruptions do not run"),
    ],
    ids=["no radius", "no attack of ours", "two radii", "level", "attacks"],
)
def test_what_is_given_is_used_or_refused(
    finished: Path, study: Path, tmp_path: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, data = finished / "arms/size-0.5/checkpoint-best", f"npz:{study.parent / 'five.npz'}"
    command = ["evaluate", checkpoint, "--data", data, "--out", tmp_path / "out", "--calibration", *arguments]
    refused(capsys, command, says)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["calibration", "corruptions"])
def test_a_stop_ends_it_and_leaves_no_file(name: str, tmp_path: Path) -> None:
    target = Target(
        title="",
        backend=NumpyBackend(),
        classifier=job(tmp_path).build(),
        data=toy(),
        examples=toy().test,
        place=lambda *words: tmp_path / "-".join(words),
        about={},
    )
    with pytest.raises(Interrupted):
        measure(target, Measures(**{name: True}), Silent(), lambda: True)  # type: ignore[arg-type]
    assert not list(tmp_path.glob(f"{name}*"))


def test_a_study_has_its_own_threat_model(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, ["evaluate", finished, "--calibration", "--eps", "0.5"], "--eps: for a checkpoint only")
