"""The `sat` command as a user meets it: whole studies, kills, refusals."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sat_core.backend import BACKENDS
from sat_core.errors import EXIT_CONTINUE
from sat_evaluation.attack.package import PACKAGES
from sat_evaluation.cli import main
from sat_evaluation.paper.reproduce import Reproduction
from sat_evaluation.run.events import EVENTS

pytestmark = pytest.mark.backend

STUDY = """
data.name = "npz:{data}"
model.name = "small-cnn"
[attack]
eps = 0.5
[training]
epochs = 4
batch_size = 16
lr = 0.02
[evaluation]
selection_share = 0.3
selection_attacks = ["apgd-ce"]
attacks = ["apgd-ce"]
examples = 20
[grid]
subset.size = [0.0, 0.5, 1.0]
"""


def sat(*arguments: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sat_evaluation.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=500, check=False, **options)


def refused(capsys: pytest.CaptureFixture[str], arguments: list[Any], says: str) -> None:
    """The command, in this process, refuses with what it should say in at most three lines."""
    assert main([str(argument) for argument in arguments]) == 2
    printed = capsys.readouterr().err
    assert says in printed
    assert len(printed.strip().splitlines()) <= 3


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of three arms on a few real digits."""
    from sklearn.datasets import load_digits

    folder = tmp_path_factory.mktemp("study")
    images, labels = load_digits(return_X_y=True)
    x = (images[labels < 5] / 16).reshape(-1, 8, 8, 1).astype(np.float32)
    y = labels[labels < 5]
    np.savez(folder / "five.npz", x_train=x[:160], y_train=y[:160], x_test=x[160:220], y_test=y[160:220])
    (folder / "study.toml").write_text(STUDY.format(data=folder / "five.npz"))
    return folder / "study.toml"


@pytest.fixture(scope="module")
def finished(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study, run without a break."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    done = sat("run", study, "--out", out)
    assert done.returncode == 0, done.stderr
    (out / "printed.txt").write_text(done.stdout)
    return out


def same(one: Path, other: Path) -> None:
    """Scores, rankings, splits, weights and flags are the same byte for byte."""
    for pattern in ("*.npz", "*.safetensors", "split.json", "selection.json", "spec.toml"):
        names = sorted(p.relative_to(one) for p in one.rglob(pattern))
        assert names
        assert names == sorted(p.relative_to(other) for p in other.rglob(pattern))
        for name in names:
            assert (one / name).read_bytes() == (other / name).read_bytes(), name
    for name in one.rglob("results.json"):
        contents = [json.loads((root / name.relative_to(one)).read_text()) for root in (one, other)]
        for content in contents:
            del content["cost"]["seconds"]
        assert contents[0] == contents[1]


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


def test_a_second_start_does_nothing_again(finished: Path, study: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("results.json")}
    assert sat("run", study, "--out", finished).returncode == 0
    assert before == {path: path.stat().st_mtime_ns for path in finished.rglob("results.json")}


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
    done = sat("run", study, "--out", tmp_path / "new", "--reuse", finished)
    assert done.returncode == 0, done.stderr
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
    dry = sat("reproduce", "fig2", "--out", tmp_path / "none", "--dry-run")
    assert "# fig2-digits: 12 arms" in dry.stdout
    Reproduction(figure="fig2", scale="demo", protocol="authors").write(tmp_path / "out")
    told = sat("status", tmp_path / "out").stdout
    assert "studies/fig2-digits: 12 arms not begun" in told
    refused = sat("reproduce", "fig2", "--out", tmp_path / "none", "--dry-run", "--partition", "gpu")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--partition: for --executor slurm only" in refused.stderr
    assert not (tmp_path / "none").exists()


@pytest.fixture(scope="module")
def target(study: Path) -> str:
    """Another task on larger images: the other digits, at 16 x 16 pixels."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x = (images[labels >= 5] / 16).reshape(-1, 8, 8, 1).astype(np.float32).repeat(2, axis=1).repeat(2, axis=2)
    y = labels[labels >= 5] - 5
    np.savez(study.parent / "others.npz", x_train=x[:200], y_train=y[:200], x_test=x[200:300], y_test=y[200:300])
    return f"npz:{study.parent / 'others.npz'}"


HEAD = ("--set", "epochs=3", "--set", "batch_size=32")


@pytest.fixture(scope="module")
def transferred(finished: Path, target: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Heads on every arm of the study."""
    out = tmp_path_factory.mktemp("runs") / "heads"
    done = sat("transfer", finished, "--data", target, "--out", out, *HEAD)
    assert done.returncode == 0, done.stderr
    (out / "printed.txt").write_text(done.stdout)
    return out


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
    assert sat("transfer", finished, "--data", target, "--out", transferred, *HEAD).returncode == 0
    assert before == {path: path.stat().st_mtime_ns for path in transferred.rglob("results.json")}


def test_a_head_on_one_arm_is_the_same(transferred: Path, finished: Path, target: str, tmp_path: Path) -> None:
    done = sat("transfer", finished / "arms" / "size-0.5", "--data", target, "--out", tmp_path / "one", *HEAD)
    assert done.returncode == 0, done.stderr
    best = "arms/size-0.5/checkpoint-best.safetensors"
    assert (transferred / best).read_bytes() == (tmp_path / "one" / best).read_bytes()


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
    assert sat(*arguments).returncode == 0
    same(transferred / "arms", tmp_path / "heads" / "arms")


def test_a_finished_head_is_none_of_a_source_that_has_changed(
    finished: Path, target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, best = tmp_path / "size-0.5", "checkpoint-best.safetensors"
    shutil.copytree(finished / "arms" / "size-0.5", source)
    arguments = ["transfer", source, "--data", target, "--out", tmp_path / "heads", *HEAD]
    assert sat(*arguments).returncode == 0
    (source / best).write_bytes((finished / "arms" / "size-1.0" / best).read_bytes())
    refused(capsys, arguments, "source.fingerprint")


def test_the_checkpoint_of_a_transfer_is_evaluated_on_scaled_images(transferred: Path, target: str) -> None:
    arm = transferred / "arms" / "size-1.0"
    done = sat("evaluate", arm, "--data", target, "--attacks", "apgd-ce", "--out", transferred / "evaluated")
    assert done.returncode == 0, done.stderr
    (path,) = (transferred / "evaluated").glob("*.json")
    found = json.loads(path.read_text())
    assert found["clean_accuracy"]["all"]["n"] == 100
    assert found["robust_accuracy"]["all"]["value"] < found["clean_accuracy"]["all"]["value"]


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


def test_a_study_with_a_target_more_trains_only_the_heads(
    finished: Path, study: Path, target: str, tmp_path: Path
) -> None:
    out = tmp_path / "study"
    shutil.copytree(finished, out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("results.json")}
    settings = ["--set", f'transfer.targets=["{target}"]', "--set", "transfer.epochs=2"]
    done = sat("run", study, "--out", out, *settings)
    assert done.returncode == 0, done.stderr
    heads = list(out.glob("transfer/*/arms/*/results.json"))
    assert len(heads) == 3
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("results.json") if path not in heads}
    assert "holds there" in done.stdout


def start(study: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "sat_evaluation.cli", "run", str(study), "--out", str(out), "--save-every", "0"]
    return subprocess.Popen([*command, "--tensorboard"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(out: Path, pattern: str, process: subprocess.Popen[str]) -> None:
    """Until a file is written that was not when the study started; it must still be running then."""
    began, until = time.time(), time.monotonic() + 200
    while process.poll() is None and time.monotonic() < until:
        if any(path.stat().st_mtime > began for path in out.glob(pattern)):
            break
        time.sleep(0.01)
    assert process.poll() is None, f"the study ended before {pattern} was there"


BREAKS = [
    ("ranking/checkpoint-last.safetensors", signal.SIGKILL),
    ("arms/size-1.0/checkpoint-last.safetensors", signal.SIGTERM),
    ("arms/*/evaluation/selection-*.npz", signal.SIGKILL),
    ("arms/size-0.5/evaluation/report.npz", signal.SIGUSR1),
    ("arms/size-0.0/checkpoint-last.safetensors", signal.SIGKILL),
]


def test_broken_off_in_every_stage_it_ends_with_the_same_bytes(finished: Path, study: Path, tmp_path: Path) -> None:
    out = tmp_path / "broken"
    for stage, number in BREAKS:
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
    assert sat("run", study, "--out", out, "--tensorboard").returncode == 0
    same(finished, out)
    assert not list(out.rglob(".partial-*"))
    assert not list(finished.rglob(f"*{EVENTS}"))
    assert points(out / "ranking")["loss"].keys() == {1, 2, 3, 4}
    for arm in (out / "arms").iterdir():
        found, results = points(arm), json.loads((arm / "results.json").read_text())
        assert found["loss"] == pytest.approx(dict(enumerate(results["losses"], 1)))
        checks = {c["epoch"]: c["robust_accuracy"]["all"]["value"] for c in results["selection"]["checks"]}
        assert found["selection/robust_accuracy"] == pytest.approx(checks)
        assert found["report/robust_accuracy"].keys() == {results["selection"]["epoch"]}


def points(directory: Path) -> dict[str, dict[int, float]]:
    """What TensorBoard reads: tags to epochs to values, each of which is there once."""
    accumulator = EventAccumulator(str(directory)).Reload()
    found = {tag: accumulator.Scalars(tag) for tag in accumulator.Tags()["scalars"]}
    assert all(len(events) == len({event.step for event in events}) for events in found.values())
    return {tag: {event.step: event.value for event in events} for tag, events in found.items()}


def workers(out: Path) -> list[str]:
    lines = (Path("/proc") / p / "cmdline" for p in os.listdir("/proc") if p.isdigit())
    found = []
    for line in lines:
        try:
            text = line.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if "sat_evaluation.run.worker" in text and str(out) in text:
            found.append(text)
    return found


def test_one_arm_that_fails_takes_no_other_down(study: Path, tmp_path: Path) -> None:
    settings = ["--set", "training.lr=[0.02, 1e38]", "--set", "training.weight_decay=0", "--set", "subset.size=0.0"]
    done = sat("run", study, "--out", tmp_path / "out", *settings)
    assert done.returncode == 2
    assert "lr-1e+38: the loss became" in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3
    assert (tmp_path / "out/arms/lr-0.02/results.json").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--set", "attack.eps=-1"], "attack.eps: expected a finite number >= 0, got -1"),
        (["--set", "attack.eps=nan"], "attack.eps: expected a finite number >= 0, got nan"),
        (["--set", "attack.steps=0"], "attack.steps: expected an integer >= 1, got 0"),
        (["--set", "attack.norm=L1"], "attack.norm: expected one of L2, Linf"),
        (["--set", "subset.size=161"], "subset.size: expected at most 160, got 161"),
        (["--set", "trainin.epochs=3"], "did you mean 'training.epochs'?"),
        (["--set", "subset.size"], "--set: expected key=value, got 'subset.size'"),
        (["--set", "model.name=small-cn"], "did you mean 'small-cnn'?"),
        (["--set", "data.name=digit"], "did you mean 'digits'?"),
        (["--set", "data.name=npz:nowhere.npz"], "nowhere.npz"),
        (["--set", "ranking.file=nowhere.npy"], "nowhere.npy"),
        (
            [
                "--set",
                "subset.kind=classes",
                "--set",
                "subset.strategy=listed",
                "--set",
                "subset.classes=[9]",
                "--set",
                "subset.size=0.5",
            ],
            "expected classes in 0..4, got 9",
        ),
        (
            ["--set", "subset.kind=classes", "--set", "subset.strategy=listed", "--set", 'subset.classes=["cat"]'],
            "subset.classes: no class is called 'cat'",
        ),
        (["--set", "training.batch_size=512"], "training.batch_size: expected at most the 160 training examples"),
        (["--set", "evaluation.examples=43"], "evaluation.examples: expected 1 to 42 of 60 validation examples"),
        (["--set", "attack.eps=8"], "attack.eps: expected less than 8, the L2 diameter of 8 x 8 x 1 images"),
        (["--set", 'transfer.targets=["npz:nowhere.npz"]'], "nowhere.npz"),
        (["--backend", "torhc"], "did you mean 'torch'?"),
        (["--device", "cuda:7"], "device"),
        (["--jobs", "0"], "--jobs: expected an integer >= 1"),
        (["--save-every", "-1"], "--save-every: expected seconds >= 0"),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else "",
)
def test_bad_input_is_refused_before_training_in_three_lines(
    study: Path, tmp_path: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for more in ([], ["--dry-run"]):
        refused(capsys, ["run", study, "--out", tmp_path / "out", *arguments, *more], says)
        assert not (tmp_path / "out").exists()


def test_a_study_without_autoattack_is_refused_before_training(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in PACKAGES:
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.setitem(sys.modules, f"{name}.autopgd_base", None)
    refused(
        capsys,
        ["run", study, "--out", tmp_path / "out"],
        "pip install '.[autoattack]' in the folder of sat-core's source",
    )
    assert not (tmp_path / "out").exists()


def test_a_backend_without_its_package_says_what_to_install(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BACKENDS, "_entries", {})
    for name in ("torch", "tensorflow"):
        monkeypatch.setitem(sys.modules, f"sat_{name}", None)
        arguments = ["run", study, "--out", tmp_path / "out", "--backend", name]
        refused(capsys, arguments, f"backend '{name}' is not installed")
        refused(capsys, arguments, f"pip install '.[{name}]' in the folder of sat-core's source")


OWN = {
    "torch": """
import torch
def few(classes, image_shape): return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, classes - 2))
def raises(classes, image_shape): raise RuntimeError("boom\\nand more\\nand more\\nand more")
def none(classes, image_shape): return None
def leaves(classes, image_shape): raise SystemExit(3)
class Late(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.calls = torch.nn.Linear(64, 5), 0
    def forward(self, x):
        self.calls += self.training
        if self.calls > 3: raise ValueError("late failure\\nin two lines")
        return self.fc(x.flatten(1))
def late(classes, image_shape): return Late()
""",
    "tensorflow": """
import keras, tensorflow as tf
def few(classes, image_shape):
    return keras.Sequential([keras.Input(image_shape), keras.layers.Flatten(), keras.layers.Dense(classes - 2)])
def raises(classes, image_shape): raise RuntimeError("boom\\nand more\\nand more\\nand more")
def none(classes, image_shape): return None
def leaves(classes, image_shape): raise SystemExit(3)
class Late(keras.Model):
    def __init__(self):
        super().__init__()
        self.flat, self.fc, self.calls = keras.layers.Flatten(), keras.layers.Dense(5), 0
    def call(self, x, training=False):
        x = tf.ensure_shape(tf.numpy_function(self.count, [x], x.dtype), x.shape) if training else x
        return self.fc(self.flat(x))
    def count(self, x):
        self.calls += 1
        if self.calls > 3: raise ValueError("late failure\\nin two lines")
        return x
def late(classes, image_shape): return Late()
""",
}


@pytest.mark.parametrize(
    ("factory", "says"),
    [
        ("few", "logits of shape ("),
        ("raises", "model.name: my_own:raises(classes, image_shape) raised RuntimeError: boom"),
        ("none", ", got NoneType"),
        ("leaves", "raised SystemExit: 3"),
    ],
)
def test_models_that_do_not_fit_are_refused_and_leave_the_folder_free(
    study: Path, tmp_path: Path, factory: str, says: str, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    (tmp_path / "my_own.py").write_text(OWN[os.environ["SAT_BACKEND"]])
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_own", raising=False)
    for more in ([], ["--dry-run"]):
        refused(capsys, ["run", study, "--out", tmp_path / "out", "--set", f"model.name=my_own:{factory}", *more], says)
        assert not (tmp_path / "out").exists()


def test_an_arm_that_crashes_shows_type_and_first_line(study: Path, tmp_path: Path) -> None:
    (tmp_path / "my_own.py").write_text(OWN[os.environ["SAT_BACKEND"]])
    settings = ["--set", "model.name=my_own:late", "--set", "subset.size=0.0"]
    done = sat("run", study, "--out", tmp_path / "out", *settings, cwd=tmp_path)
    assert done.returncode == 2
    assert re.search("arm: .*Error: .*late failure", done.stderr)
    assert len(done.stderr.strip().splitlines()) <= 3


def test_files_of_the_working_directory_stand_in_for_nothing(study: Path, tmp_path: Path) -> None:
    for name in ("statistics", "queue", "torch", "tensorflow", "keras", "safetensors", "submitit", "rich"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not this one')\n")
    (tmp_path / "my_layers.py").write_text(OWN[os.environ["SAT_BACKEND"]])
    (tmp_path / "my_own.py").write_text(
        "def late(**about):\n    import my_layers\n    return my_layers.late(**about)\n"
    )
    settings = ["--set", "model.name=my_own:late", "--set", "subset.size=0.0"]
    done = sat("run", study, "--out", tmp_path / "out", *settings, cwd=tmp_path)
    assert re.search("arm: .*Error: .*late failure", done.stderr), done.stderr  # so it was found, and trained


def test_an_interrupt_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from sat_evaluation.cli import checkpoint as evaluate

    def interrupt(_arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate, "evaluate_checkpoint", interrupt)
    assert main(["evaluate", "anything", "--data", "digits"]) == EXIT_CONTINUE
    assert capsys.readouterr().err == "sat: interrupted; what is finished is saved, the same command goes on\n"


def test_a_traceback_comes_with_debug_only(study: Path, tmp_path: Path) -> None:
    wrong = ["--out", tmp_path / "out", "--set", "attack.eps=-1"]
    assert "Traceback" in sat("run", study, *wrong, "--debug").stderr
    assert "Traceback" in sat("--debug", "run", study, *wrong).stderr


def test_folders_that_cannot_be_written_are_named(study: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = sat("run", study, "--out", tmp_path / "file" / "out")
    assert done.returncode == 2
    assert "cannot be written" in done.stderr


def older(results: dict[str, Any]) -> dict[str, Any]:
    """As a version might have written it that knew less."""
    less = {key: value for key, value in results.items() if key not in ("losses", "warnings", "versions", "seeds")}
    spec = {**results["spec"], "training": {**results["spec"]["training"]}}
    del spec["training"]["deterministic"]
    return less | {"spec": spec}


def newer(results: dict[str, Any]) -> dict[str, Any]:
    """As a version might write it that knows more."""
    more = {key: {**results[key], "novel": {"x": 1}} for key in ("cost", "attacks", "split", "robust_accuracy")}
    spec = {**results["spec"], "training": {**results["spec"]["training"], "novel": 3}}
    return results | more | {"spec": spec, "novel": []}


@pytest.mark.parametrize("change", [older, newer])
def test_results_of_another_version_are_read(
    finished: Path, study: Path, tmp_path: Path, change: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(finished, tmp_path / "out")
    path = out / "arms/size-0.5/results.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    assert main(["status", str(out)]) == 0
    assert "4 of 4 finished" in capsys.readouterr().out
    assert main(["run", str(study), "--out", str(out)]) == 0
    assert (out / "summary.csv").read_text().splitlines()[2].startswith("size-0.5,")


@pytest.mark.parametrize("content", ["", '{"arm": "size-0.5", "spec": {', "[]", "3", "{}", '{"arm": "size-0.5"}'])
def test_results_that_are_none_are_refused_before_anything_is_trained(
    finished: Path, study: Path, tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(finished, tmp_path / "out")
    (out / "arms/size-1.0/results.json").unlink()
    path = out / "arms/size-0.5/results.json"
    path.write_text(content)
    refused(capsys, ["run", study, "--out", out], f"{path}: expected the results of a finished arm\ndelete {path}")
    assert not (out / "arms/size-1.0/results.json").exists()
    assert main(["status", str(out)]) == 0
    assert "size-0.5  unreadable results.json: not the results of a finished arm" in capsys.readouterr().out


def test_what_else_another_version_may_have_written_is_refused_in_a_clear_line(
    finished: Path, study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(finished, tmp_path / "out")
    spec = out / "spec.toml"
    spec.write_text(spec.read_text().replace("[training]", "[training]\nnovel = 3"))
    refused(capsys, ["run", study, "--out", out], "training.novel is 3 there and 'not set' here")
    refused(capsys, ["status", out], f"{spec}: unknown key 'training.novel'")
    shutil.copy(finished / "spec.toml", spec)
    ranking = out / "ranking/ranking.npz"
    ranking.write_bytes(ranking.read_bytes()[:300])
    refused(capsys, ["run", study, "--out", out], f"{ranking}: expected an .npz file")


def test_another_study_in_the_same_folder_is_refused(finished: Path, study: Path) -> None:
    done = sat("run", study, "--out", finished, "--set", "training.epochs=5")
    assert done.returncode == 2
    assert "training.epochs is 4 there and 5 here" in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3


def test_a_dry_run_lists_the_arms_and_writes_nothing(study: Path, tmp_path: Path) -> None:
    done = sat("run", study, "--out", tmp_path / "out", "--dry-run")
    assert done.returncode == 0
    assert "# arms: 3\n# size-0.0\n# size-0.5\n# size-1.0" in done.stdout
    assert done.stderr == ""
    assert not (tmp_path / "out").exists()


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


def test_evaluate_a_checkpoint_for_several_radii(finished: Path, study: Path, tmp_path: Path) -> None:
    checkpoint, data = finished / "arms/size-0.5/checkpoint-best", tmp_path / ("long" * 50) / "five.npz"
    data.parent.mkdir()  # its path is too long for the name of a file
    shutil.copy(study.parent / "five.npz", data)
    arguments = [
        checkpoint,
        "--data",
        f"npz:{data}",
        "--attacks",
        "apgd-ce",
        "--examples",
        20,
        "--out",
        tmp_path / "out",
    ]
    done = sat("evaluate", *arguments, "--eps", "0.01", "1/2", "4.0")
    assert done.returncode == 0, done.stderr
    found = [json.loads(path.read_text()) for path in sorted((tmp_path / "out").glob("*.json"))]
    robust = {result["eps"]: result["robust_accuracy"]["all"]["value"] for result in found}
    assert sorted(robust) == [0.01, 0.5, 4.0]
    assert robust[0.01] >= robust[0.5] >= robust[4.0] < robust[0.01]
    assert len(list((tmp_path / "out").glob("*.npz"))) == 3
    assert sat("evaluate", *arguments).returncode == 0  # ε of the training: read from the file of 1/2
    done = sat("evaluate", *arguments, "--engine", "fast")  # beside the package's, and labelled
    assert "fast engine" in " ".join(done.stdout.split())
    engines = [json.loads(path.read_text())["engine"] for path in (tmp_path / "out").glob("*.json")]
    assert sorted(engines) == ["fast", "package", "package", "package"]
    assert len(list((tmp_path / "out").glob("*.npz"))) == 4


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--data", "digits"], "expected 5 classes and images (8, 8, 1), got 10"),
        (["--eps", "-1"], "--eps: expected a finite number >= 0"),
        (["--eps", "0.5", "8"], "--eps: expected less than 8, the L2 diameter of 8 x 8 x 1 images"),
        (["--norm", "Linf", "--eps", "8"], "--eps: expected less than 1, the Linf diameter"),
        (["--norm", "Linf"], "--norm: Linf needs --eps, as the training was with L2"),
        (["--norm", "L1"], "--norm: expected one of L2, Linf"),
        (["--attacks", "standrad"], "square (did you mean 'standard'?), got 'standrad'"),
        (["--attacks", "apgd-ce,pgd"], "--attacks: expected one of standard"),
        (["--batch-size", "0"], "--batch-size: expected an integer >= 1, got 0"),
        (["--threads", "0"], "--threads: expected an integer >= 1"),
        (["--examples", "61"], "--examples: expected 1 to 60, got 61"),
        (["--model", "nowhere:make"], "cannot import 'nowhere:make'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_evaluated(
    finished: Path, study: Path, tmp_path: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, data = finished / "arms/size-0.5/checkpoint-best", f"npz:{study.parent / 'five.npz'}"
    refused(capsys, ["evaluate", checkpoint, "--data", data, "--out", tmp_path / "out", *arguments], says)


def test_a_checkpoint_that_is_none(study: Path, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"PK\x03\x04 not a checkpoint")
    done = sat("evaluate", tmp_path / "a", "--data", f"npz:{study.parent / 'five.npz'}")
    assert done.returncode == 2
    assert "a.safetensors: truncated or not a safetensors file" in done.stderr


LONG = "x" * 3000


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["rum"], "invalid choice: 'rum'"),
        (["run", "STUDY"], "the following arguments are required: --out"),
        (["run", "STUDY", "--out", "o", "--jobs", "two"], "argument --jobs: invalid int value: 'two'"),
        (["run", "STUDY", "--out", LONG], "xxx/spec.toml: File name too long"),
        (["run", LONG, "--out", "o"], "File name too long"),
        (["run", "STUDY", "--out", "o", "--set", "=3"], "--set: expected key=value, got '=3'"),
        (["run", "STUDY", "--out", "o", "--set", "eps=3"], "unknown key 'eps' (did you mean 'attack.eps'?)"),
        (["run", "STUDY", "--out", "o", "--set", f"{LONG}=3"], "unknown key 'xxx"),
        (["run", "STUDY", "--out", "o", "--set", f"ranking.file={LONG}"], "(File name too long)"),
        (["run", "STUDY", "--out", "o", "--set", f"model.name={LONG}:make"], "model.name: cannot import 'xxx"),
        (["run", "STUDY", "--out", "o", "--set", f"data.name=npz:{LONG}"], "File name too long"),
        (["run", "STUDY", "--out", "o", "--dry-run", "--reuse", "nowhere"], "nowhere: expected a folder with finished"),
        (["evaluate", LONG, "--data", "digits"], "xxx: File name too long"),
        (["evaluate", "nowhere", "--data", "digits"], "nowhere: no such checkpoint; expected one, or the folder of"),
        (["transfer", LONG, "--data", "digits", "--out", "o"], "xxx/results.json: File name too long"),
        (["status", LONG], "File name too long"),
        (["report", LONG], "File name too long"),
        (["data", "info", LONG], "unknown data set 'xxx"),
        (["compare", LONG], "File name too long"),
        (["reproduce", LONG, "--out", "o"], "unknown figure 'xxx"),
    ],
    ids=lambda value: " ".join(value).replace(LONG, "LONG") if isinstance(value, list) else "",
)
def test_what_people_mistype_is_answered_in_three_short_lines(
    study: Path, tmp_path: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        sys.exit(main([str(study) if a == "STUDY" else a for a in arguments]))
    printed = capsys.readouterr().err
    assert says in printed
    assert "defect" not in printed
    assert len(printed.splitlines()) <= 3
    assert max(map(len, printed.splitlines())) <= 500
    assert not list(tmp_path.iterdir())


def test_help_and_version() -> None:
    assert "evaluate" in sat("--help").stdout
    assert "resume" not in sat("--version").stdout
    assert sat("--version").stdout.startswith("sat-core ")
    assert sat().returncode == 2
