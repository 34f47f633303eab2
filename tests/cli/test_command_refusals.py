"""What the `sat` command refuses, before anything is trained and in at most three lines."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from sat_command import OWN, refused, sat

from sat_core import backend
from sat_core.registry import Registry
from sat_evaluation.attack.package import PACKAGES
from sat_evaluation.cli import main

pytestmark = pytest.mark.backend


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
    monkeypatch.setattr(backend, "BACKENDS", Registry("backend", "sat_core.backends"))  # as in a new process
    for name in ("torch", "tensorflow"):
        monkeypatch.setitem(sys.modules, f"sat_{name}", None)
        arguments = ["run", study, "--out", tmp_path / "out", "--backend", name]
        refused(capsys, arguments, f"backend '{name}' is not installed")
        refused(capsys, arguments, f"pip install '.[{name}]' in the folder of sat-core's source")


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
    """And files of the working directory stand in for nothing."""
    for name in ("statistics", "queue", "torch", "tensorflow", "keras", "safetensors", "submitit", "rich"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not this one')\n")
    (tmp_path / "my_layers.py").write_text(OWN[os.environ["SAT_BACKEND"]])
    (tmp_path / "my_own.py").write_text(
        "def late(**about):\n    import my_layers\n    return my_layers.late(**about)\n"
    )
    settings = ["--set", "model.name=my_own:late", "--set", "subset.size=0.0"]
    done = sat("run", study, "--out", tmp_path / "out", *settings, cwd=tmp_path)
    assert done.returncode == 2
    assert re.search("arm: .*Error: .*late failure", done.stderr), done.stderr  # so it was found, and trained
    assert len(done.stderr.strip().splitlines()) <= 3


LONG = "x" * 3000


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["rum"], "invalid choice: 'rum'"),
        (["run", "STUDY"], "the following arguments are required: --out"),
        (["run", "STUDY", "--out", "o", "--jobs", "two"], "argument --jobs: invalid int value: 'two'"),
        (["run", "STUDY", "--out", LONG], ": File name too long"),
        (["run", LONG, "--out", "o"], "File name too long"),
        (["run", "STUDY", "--out", "o", "--set", "=3"], "--set: expected key=value, got '=3'"),
        (["run", "STUDY", "--out", "o", "--set", "eps=3"], "unknown key 'eps' (did you mean 'attack.eps'?)"),
        (["run", "STUDY", "--out", "o", "--set", f"{LONG}=3"], "unknown key 'xxx"),
        (["run", "STUDY", "--out", "o", "--set", f"ranking.file={LONG}"], "(File name too long)"),
        (["run", "STUDY", "--out", "o", "--set", f"model.name={LONG}:make"], "model.name: cannot import 'xxx"),
        (["run", "STUDY", "--out", "o", "--set", f"data.name=npz:{LONG}"], "File name too long"),
        (["run", "STUDY", "--out", "o", "--dry-run", "--reuse", "nowhere"], "nowhere: expected a folder with finished"),
        (["evaluate", LONG, "--data", "digits"], "xxx/spec.toml: File name too long"),
        (["evaluate", "nowhere", "--data", "digits"], "nowhere: no such checkpoint; expected one, a file of weights"),
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
