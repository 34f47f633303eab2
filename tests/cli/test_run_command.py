"""`sat run` and `sat reproduce`: whole studies, stopped or killed anywhere, and what they print."""

from __future__ import annotations

import csv
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sat_command import here, refused, sat, start, wait_for, workers
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toys import OUTCOME, same_bytes

from sat_core.backend import Backend
from sat_core.errors import EXIT_CONTINUE
from sat_core.run_folder import ReproductionFolder
from sat_evaluation.cli import main
from sat_evaluation.paper.reproduction import Reproduction

pytestmark = pytest.mark.backend


def test_a_study_leaves_table_plots_and_results(finished: Path) -> None:
    printed = (finished / "printed.txt").read_text()
    assert "full AT" in printed
    assert "of the gradient evaluations" in " ".join(printed.split())
    for name in ("accuracy.png", "accuracy.svg", "summary.csv", "spec.toml", "ranking/ranking.npz"):
        assert (finished / name).stat().st_size > 0
    with (finished / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["size"] for row in rows] == ["0", "80", "160"]
    result = json.loads((finished / "arms/size-0.5/results.json").read_text())
    assert result["attacks"]["package"].startswith("pyautoattack")
    assert result["robust_accuracy"]["all"]["n"] == 20


def test_a_report_and_the_examples_that_it_shows(finished: Path, tmp_path: Path, backend: Backend) -> None:
    out = tmp_path / "report.html"
    assert here("report", finished, "--out", out).returncode == 0
    assert "full AT" in out.read_text(encoding="utf-8")
    paths = sorted(finished.glob("arms/*/examples.npz"))
    assert len(paths) == 3
    for path in paths:
        with np.load(path) as kept:
            image, adversarial = kept["image"], kept["adversarial"]
            assert image.shape == adversarial.shape == (6, 8, 8, 1)
            assert adversarial.min() >= 0
            assert adversarial.max() <= 1
            assert np.linalg.norm((adversarial - image).reshape(6, -1), axis=1).max() <= 0.5 + 1e-5
            classifier = backend.load(path.parent / "checkpoint-best")
            for images, predicted in ((image, "predicted"), (adversarial, "predicted_adversarial")):
                logits = classifier.logits(images)
                chosen = logits[np.arange(6), kept[predicted]]
                np.testing.assert_allclose(chosen, logits.max(axis=1), atol=1e-3)  # the class, or one as likely


def test_a_second_start_does_nothing_again(finished: Path, study: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("results.json")}
    assert here("run", study, "--out", finished).returncode == 0
    assert before == {path: path.stat().st_mtime_ns for path in finished.rglob("results.json")}


def test_a_run_continues_with_the_precision_that_it_began_with(finished: Path, study: Path) -> None:
    """It is in float32, also where `auto` would take bfloat16."""
    before = {path: path.read_bytes() for path in finished.rglob("spec.toml")}
    assert here("run", study, "--out", finished, "--set", "training.precision=auto").returncode == 0
    assert before == {path: path.read_bytes() for path in finished.rglob("spec.toml")}


@pytest.mark.torch  # it is the command that prints
def test_a_reader_that_goes_ends_no_study(study: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sat_evaluation.cli", "run", str(study), "--out", str(tmp_path / "out")]
    command += ["--set", "subset.size=0.0", "--set", "training.epochs=1"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait(timeout=500) == 0, errors
    assert errors == ""
    assert (tmp_path / "out" / "summary.csv").exists()


@pytest.mark.parametrize(
    ("shell", "status", "says"),
    [
        ("PYTHONIOENCODING=ascii {}", 0, ""),
        ("PYTHONIOENCODING=latin-1 {}", 0, ""),
        ("{} > /dev/full", 74, "standard output: cannot be written ([Errno 28] No space left on device)"),
        ("{} >&-", 0, ""),
        ("{} >&- 2>&-", 0, ""),
        ("{} 2> /dev/full", 0, ""),
        ("set -o pipefail; {} | true", 0, ""),
    ],
)
def test_a_finished_study_is_no_failure_where_it_cannot_be_printed(
    finished: Path, shell: str, status: int, says: str
) -> None:
    command = f"{shlex.quote(sys.executable)} -m sat_evaluation.cli status {shlex.quote(str(finished))}"
    done = subprocess.run(
        ["bash", "-c", shell.format(command)], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == status, done.stderr
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == (2 if says else 0)


def test_arms_that_a_finished_study_has_are_taken_over(finished: Path, study: Path, tmp_path: Path) -> None:
    done = here("run", study, "--out", tmp_path / "new", "--reuse", finished)
    assert done.returncode == 0, done.stderr
    # nothing was left that could take time
    assert not [line for line in done.stdout.splitlines() if line.startswith(("expected ", "took "))]
    assert "expected to take" not in done.stderr
    for arm in (finished / "arms").iterdir():
        results = json.loads((tmp_path / "new" / "arms" / arm.name / "results.json").read_text())
        assert (tmp_path / "new" / "arms" / arm.name / results.pop("reused")).resolve() == arm.resolve()
        assert results == json.loads((arm / "results.json").read_text())
    assert not list((tmp_path / "new").rglob("log.txt"))


@pytest.mark.torch
def test_figures_from_studies_to_plots(study: Path, tmp_path: Path) -> None:
    settings = [
        "training.epochs=2",
        "training.batch_size=16",
        'evaluation.attacks=["apgd-ce"]',
        "evaluation.examples=10",
    ]
    settings += ["evaluation.selection_share=0.2", "evaluation.selection_epochs=[2]"]
    common = ["--out", tmp_path / "out", "--data", f"five=npz:{study.parent / 'five.npz'}"]
    common += [text for setting in settings for text in ("--set", setting)]
    done = sat("reproduce", "rs-fgsm", *common)
    assert done.returncode == 0, done.stderr
    assert "five: 50 % of the examples" in done.stdout
    done = sat("reproduce", "fig3", *common)
    assert done.returncode == 0, done.stderr
    ranking = tmp_path / "out/studies/fig3-five/ranking"
    assert (ranking / "ranking.npz").exists()
    assert not (ranking / "log.txt").exists()  # it was taken from the other figure
    for name in ("rs-fgsm.png", "rs-fgsm.svg", "fig3.png", "fig3.svg", "rs-fgsm.json"):
        assert (tmp_path / "out" / name).stat().st_size > 0
    compared = sat("compare", tmp_path / "out")
    assert (compared.returncode, compared.stdout) == (2, "")
    assert "no numbers have been published on five" in compared.stderr
    dry = here("reproduce", "fig2", "--out", tmp_path / "none", "--dry-run")
    assert "# fig2-digits: 12 arms" in dry.stdout
    Reproduction(figure="fig2", scale="demo", protocol="authors").write(ReproductionFolder(tmp_path / "out"))
    status = sat("status", tmp_path / "out").stdout
    assert "studies/fig2-digits: 12 arms not begun" in status
    wrong = here("reproduce", "fig2", "--out", tmp_path / "none", "--dry-run", "--partition", "gpu")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "--partition: for --executor slurm only" in wrong.stderr
    assert not (tmp_path / "none").exists()


BREAKS = [
    ("ranking/checkpoint-last.safetensors", signal.SIGKILL),
    ("arms/size-1.0/checkpoint-last.safetensors", signal.SIGTERM),
    ("arms/*/evaluation/selection-*.npz", signal.SIGKILL),
    ("arms/size-0.5/evaluation/report.npz", signal.SIGUSR1),
    ("arms/size-0.0/checkpoint-last.safetensors", signal.SIGKILL),
]


def test_broken_off_in_every_stage_it_ends_with_the_same_bytes(
    finished: Path, study: Path, tmp_path: Path, backend: Backend
) -> None:
    out = tmp_path / "broken"
    # TensorFlow starts slowly: it is broken off in trainings alone, whose state is a framework's
    breaks = [each for each in BREAKS if backend.name == "torch" or "checkpoint" in each[0]]
    for stage, number in breaks:
        process = start(study, out)
        wait_for(out, stage, process)
        process.send_signal(number)
        _, complaint = process.communicate(timeout=100)
        if number == signal.SIGKILL:
            until = time.monotonic() + 20
            while time.monotonic() < until and workers(out):
                time.sleep(0.1)
            assert not workers(out)
        else:
            assert process.returncode == EXIT_CONTINUE
            assert "the same command goes on" in complaint
    assert sat("run", study, "--out", out, "--track", "tensorboard").returncode == 0
    same_bytes(finished, out, OUTCOME)
    assert not list(out.rglob(".partial-*"))
    assert not list(finished.rglob("events.out.tfevents*"))
    assert points(out / "ranking")["loss"].keys() == {1, 2, 3, 4}
    for arm in (out / "arms").iterdir():
        curves, results = points(arm), json.loads((arm / "results.json").read_text())
        assert curves["loss"] == pytest.approx(dict(enumerate(results["losses"], 1)))
        checks = {c["epoch"]: c["robust_accuracy"]["all"]["value"] for c in results["selection"]["checks"]}
        assert curves["selection/robust_accuracy"] == pytest.approx(checks)
        assert curves["report/robust_accuracy"].keys() == {results["selection"]["epoch"]}


def points(directory: Path) -> dict[str, dict[int, float]]:
    """Read with TensorBoard: tags to epochs to values, each epoch once."""
    accumulator = EventAccumulator(str(directory)).Reload()
    curves = {tag: accumulator.Scalars(tag) for tag in accumulator.Tags()["scalars"]}
    assert all(len(events) == len({event.step for event in events}) for events in curves.values())
    return {tag: {event.step: event.value for event in events} for tag, events in curves.items()}


@pytest.mark.torch  # the core sees that a loss is no number
def test_one_arm_that_fails_takes_no_other_down(study: Path, tmp_path: Path) -> None:
    settings = ["--set", "training.lr=[0.02, 1e38]", "--set", "training.weight_decay=0", "--set", "subset.size=0.0"]
    done = here("run", study, "--out", tmp_path / "out", *settings)
    assert done.returncode == 2
    assert "lr-1e+38: the loss became" in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3
    assert (tmp_path / "out/arms/lr-0.02/results.json").exists()


def test_an_interrupt_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from sat_evaluation.run.evaluate import CheckpointEvaluation

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(CheckpointEvaluation, "run", interrupt)
    assert main(["evaluate", "anything", "--data", "digits"]) == EXIT_CONTINUE
    assert capsys.readouterr().err == "sat: interrupted; what is finished is saved, the same command goes on\n"


def test_a_traceback_comes_with_debug_only(study: Path, tmp_path: Path) -> None:
    wrong = ["--out", tmp_path / "out", "--set", "attack.eps=-1"]
    assert "Traceback" in sat("run", study, *wrong, "--debug").stderr
    assert "Traceback" in sat("--debug", "run", study, *wrong).stderr


def test_folders_that_cannot_be_written_are_named(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    refused(capsys, ["run", study, "--out", tmp_path / "file" / "out"], "cannot be written")


def test_a_dry_run_lists_the_arms_and_writes_nothing(study: Path, tmp_path: Path) -> None:
    done = here("run", study, "--out", tmp_path / "out", "--dry-run")
    assert done.returncode == 0
    assert "# arms: 3\n# size-0.0\n# size-0.5\n# size-1.0" in done.stdout
    assert done.stderr == ""
    assert not (tmp_path / "out").exists()


@pytest.mark.torch  # the core warns
def test_what_is_hardly_wanted_is_warned_of_before_and_after(
    study: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = [
        "--set",
        "subset.size=0.001",
        "--set",
        "training.epochs=1",
        "--set",
        "evaluation.selection_epochs=[3, 4]",
    ]
    command = ["run", str(study), "--out", str(tmp_path / "out"), *settings]
    empty = "arm: subset.size: 0.001 of the examples is less than one: A is empty, plain training"
    assert main([*command, "--dry-run"]) == 0
    late = "arm: evaluation.selection_epochs: 3 is past the end, and stands for 1"
    assert capfd.readouterr().err == f"warning: {empty}\nwarning: {late}\n"
    assert main(command) == 0
    printed = capfd.readouterr()
    assert f"warning: {empty}" in printed.err
    assert f"warning: {empty}" in " ".join(printed.out.split())
    (result,) = (tmp_path / "out").glob("arms/*/results.json")
    assert json.loads(result.read_text())["warnings"] == [line.removeprefix("arm: ") for line in (empty, late)]


def test_help_and_version() -> None:
    assert "evaluate" in sat("--help").stdout
    assert "resume" not in sat("--version").stdout
    assert sat("--version").stdout.startswith("sat-core ")
    assert sat().returncode == 2
