"""The examples of the tasks of the documentation do what they say."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import sat_core as sat
from sat_core.backend import Backend

pytestmark = pytest.mark.backend

EXAMPLES = Path(__file__).parents[2] / "examples"
OF = {"torch": "", "tensorflow": "_tensorflow"}
"""How the files for a framework end."""


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module(name)


@pytest.mark.tensorflow
def test_keras_fit_attacks_half_of_the_examples(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    history, robust = load("keras_fit", monkeypatch).main(epochs=2)
    assert history["attacked"] == [718, 718]
    assert history["loss"][1] < history["loss"][0]
    assert 0.5 < robust < history["val_accuracy"][-1]  # about 0.75
    assert "|A| = 718: clean" in capsys.readouterr().out


@pytest.mark.usefixtures("small")
def test_an_own_network_is_trained_on_own_arrays(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    example = load("train" + OF[backend.name], monkeypatch)
    result = example.main(epochs=1, out=str(tmp_path / "run"))
    assert result.split.size == 431
    assert result.split.strategy == "hardest"
    again = example.main(epochs=1, out=str(tmp_path / "run"))  # continues, and has nothing left to do
    assert again.results == result.results


@pytest.mark.usefixtures("small")
def test_both_ends_of_a_ranking_are_shown(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    example = load("difficulty", monkeypatch)
    assert example.side_by_side(np.array([[[0, 1]], [[0.5, 1]]])[..., None]) == "  @@   ==@@"
    ranking, shown = example.main(tmp_path), capsys.readouterr().out
    order = np.load(tmp_path / "order.npy")
    assert f"hardest: examples {order[:5].tolist()} of classes" in shown
    assert f"easiest: examples {order[-5:].tolist()} of classes" in shown
    assert ranking.scores["entropy"][order[0]] == ranking.scores["entropy"].max()
    assert "correlation of the entropy with entropy: 1.00" in shown


@pytest.mark.usefixtures("small")
def test_a_rule_of_ones_own_chooses_a(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    example = load("own_split", monkeypatch)
    pixels = np.array([[0.0], [0.1], [0.3], [0.35]])[:, None, None]
    scores = example.closeness_to_another_class(pixels, np.array([0, 0, 1, 1]))
    np.testing.assert_allclose(scores, [0.1 / 0.3, 0.1 / 0.2, 0.05 / 0.2, 0.05 / 0.25], rtol=1e-6)
    result, train = example.main(), sat.get_dataset("digits").train
    hardest = np.argsort(-example.closeness_to_another_class(train.images, train.labels), kind="stable")[:431]
    assert {*np.flatnonzero(result.split.members).tolist()} == {*hardest.tolist()}


@pytest.mark.usefixtures("small")
def test_a_study_runs_from_python(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = load("sweep", monkeypatch).main(str(tmp_path / "runs"), **{"training.seed": [3]})
    assert [(arm.split.size, arm.spec["training"]["seed"]) for arm in results] == [(143, 3)]
    assert "5 arms: " in (shown := capsys.readouterr().out)
    assert "|A| = 143, seed 3: robust " in shown


@pytest.mark.usefixtures("small")
def test_features_serve_another_task(backend: Backend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    head = load("transfer", monkeypatch).main(str(tmp_path / "runs"), **{"transfer.epochs": 1})
    assert head.data.classes == ("0", "1")
    assert head.source is not None
    assert head.source.split.size == 143
    assert head.robust_accuracy.value <= head.clean_accuracy.value


@pytest.mark.torch
@pytest.mark.usefixtures("small")
def test_weights_from_elsewhere_are_evaluated(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    from sat_evaluation.cli import main

    example = load("evaluate_own", monkeypatch)
    torch.save(example.train().state_dict(), tmp_path / "own.pt")
    evaluation = example.main(str(tmp_path / "own.pt"))
    assert evaluation.clean_accuracy.value > 0.7
    assert evaluation.robust_accuracy.value < evaluation.clean_accuracy.value
    assert "apgd-ce broke " in capsys.readouterr().out
    monkeypatch.chdir(EXAMPLES)
    keys = "--data digits --norm L2 --eps 0.5 --attacks apgd-ce --examples 20 --engine fast --model evaluate_own:make"
    assert main(["evaluate", str(tmp_path / "own.pt"), "--out", str(tmp_path / "scores"), *keys.split()]) == 0
    (scores,) = (tmp_path / "scores").glob("*.json")
    assert json.loads(scores.read_text())["clean_accuracy"]["all"]["value"] > 0.7


def test_examples_are_short_and_listed() -> None:
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for path in EXAMPLES.glob("*.py"):
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        assert f"`{path.name}`" in listed, path.name
        assert len(lines) < (80 if path.name == "own_loop_ddp.py" else 60), path.name


@pytest.mark.usefixtures("small")
def test_a_clean_network_is_made_robust(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = load("finetune", monkeypatch).main(str(tmp_path / "runs"), epochs=1)
    assert trained["fine-tuned"].results.losses[0] < trained["from new weights"].results.losses[0]
    assert [result.split.size for result in trained.values()] == [0, 431, 431]
    assert capsys.readouterr().out.count("PGD-20") == 3


@pytest.mark.usefixtures("small")
def test_an_exported_network_is_what_was_trained(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classifier = load("export_and_load", monkeypatch).main(str(tmp_path / "runs"), epochs=1)
    shown = capsys.readouterr().out
    assert "model.safetensors" in shown
    difference = re.search(r"largest difference of logits: (\S+)", shown)
    assert difference is not None
    assert float(difference[1]) < 1e-4
    assert classifier.default_attack is not None
