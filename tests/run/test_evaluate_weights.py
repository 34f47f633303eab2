"""`sat_core.evaluate` on weights from anywhere: files of PyTorch, checkpoints of users' networks, names."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import sat_core as sat
from sat_core import checkpoint
from sat_core.backend import Backend
from sat_core.errors import CheckpointError, EvaluationError, SpecError
from sat_core.input_spec import InputSpec
from sat_core.networks import UNTRAINED, open_network
from sat_core.zoos import ZooName, ZooNetwork

pytestmark = pytest.mark.torch

RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.random((12, 4, 4, 1), np.float32), np.arange(12) % 3
OPTIONS: dict[str, Any] = {"eps": 0.1, "norm": "Linf", "attacks": ["apgd-ce"], "progress": False}
NETWORK = """
from torch import nn

def make(classes, image_shape):
    return nn.Sequential(nn.Flatten(), nn.Linear(16, classes))

def five(**_):
    return make(5, None)
"""


@pytest.fixture
def factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The name of a factory in a module of the user's."""
    (tmp_path / "sat_test_own_net.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    yield "sat_test_own_net"
    sys.modules.pop("sat_test_own_net", None)


def network(seed: int = 1, classes: int = 3) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(16, classes)).eval()


def test_a_network_that_nothing_has_trained_is_said_to_be_none(backend: Backend, tmp_path: Path, factory: str) -> None:
    inputs = InputSpec(3, (4, 4, 1))
    assert UNTRAINED in open_network(backend, inputs, None, "linear").taken
    assert UNTRAINED not in open_network(backend, inputs, None, f"{factory}:make").taken
    path = tmp_path / "own.pt"
    torch.save({"fc.weight": torch.zeros(3, 16), "fc.bias": torch.zeros(3)}, path)
    assert UNTRAINED not in open_network(backend, inputs, path, "linear").taken


def test_weights_of_a_file_and_a_network_in_any_form_give_the_same_numbers(
    backend: Backend, tmp_path: Path, factory: str
) -> None:
    other, path = network(), tmp_path / "own.pt"
    torch.save({"state_dict": {f"module.{name}": value for name, value in other.state_dict().items()}}, path)
    expected = sat.evaluate(other, IMAGES, LABELS, **OPTIONS)
    assert 0 < expected.clean_accuracy.value < 1
    for model in (network(2), f"{factory}:make"):
        evaluation = sat.evaluate(model, IMAGES, LABELS, weights=path, **OPTIONS)
        np.testing.assert_array_equal(evaluation.broken_by, expected.broken_by)
    model = network(2)
    classifier = sat.get_backend("torch").wrap(model, image_shape=(4, 4, 1), mean=(0.5,), std=(0.25,))
    backend.load_weights(classifier, path)
    normalised = sat.evaluate(classifier, IMAGES, LABELS, **OPTIONS)
    for name in (model, f"{factory}:make"):
        evaluation = sat.evaluate(name, IMAGES, LABELS, weights=path, mean=(0.5,), std=(0.25,), **OPTIONS)
        np.testing.assert_array_equal(evaluation.broken_by, normalised.broken_by)
    assert (normalised.broken_by != expected.broken_by).any()
    # the file of one is not continued as the other, though the weights are the same
    sat.evaluate(model, IMAGES, LABELS, out=tmp_path / "e.npz", **OPTIONS)
    with pytest.raises(EvaluationError, match=r"model: .* there, .* here"):
        sat.evaluate(model, IMAGES, LABELS, out=tmp_path / "e.npz", mean=(0.5,), std=(0.25,), **OPTIONS)


def test_a_network_by_name_has_the_classes_that_it_has(factory: str) -> None:
    evaluation = sat.evaluate(f"{factory}:five", IMAGES, LABELS, **OPTIONS)
    assert evaluation.clean_accuracy.n == 12
    for options in ({"classes": 3}, {"classes": 7}):
        with pytest.raises(SpecError, match=rf"expected logits for the {options['classes']} classes .* got 5 from"):
            sat.evaluate(f"{factory}:five", IMAGES, LABELS, **OPTIONS, **options)


def test_a_new_last_layer_below_a_librarys_weights_is_not_evaluated(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def zoo(name: ZooName, inputs: InputSpec) -> ZooNetwork:
        return ZooNetwork(
            native=network(classes=inputs.classes), inputs=inputs, weights_for=0 if inputs.classes == 5 else 5
        )

    monkeypatch.setattr(type(backend), "zoos", lambda _: {"sat-zoo": zoo})
    assert backend.build("sat-zoo:net", classes=3, image_shape=(4, 4, 1)).taken == (
        "the last layer is new, as the weights of sat-zoo:net are for 5 classes",
    )
    expected = sat.evaluate(network(classes=5), IMAGES, LABELS, **OPTIONS)
    evaluation = sat.evaluate("sat-zoo:net", IMAGES, LABELS, **OPTIONS)
    np.testing.assert_array_equal(evaluation.broken_by, expected.broken_by)
    with pytest.raises(SpecError, match="expected logits for the 3 classes of the data, got 5 from sat-zoo:net"):
        sat.evaluate("sat-zoo:net", IMAGES, LABELS, classes=3, **OPTIONS)


def test_a_checkpoint_of_a_users_network_normalises_as_in_its_training(
    backend: Backend, tmp_path: Path, factory: str
) -> None:
    name, path = f"{factory}:make", tmp_path / "own.safetensors"
    trained = backend.build(name, classes=3, image_shape=(4, 4, 1), mean=(0.5,), std=(0.25,), seed=5)
    metadata = {"model": {}, "network": {"name": name, **trained.inputs.to_dict()}}
    checkpoint.save(path, {"model": trained.state()}, metadata)
    expected = sat.evaluate(trained, IMAGES, LABELS, **OPTIONS)
    for model in (name, network(2)):
        evaluation = sat.evaluate(model, IMAGES, LABELS, weights=path, **OPTIONS)
        np.testing.assert_array_equal(evaluation.broken_by, expected.broken_by)
    says = (
        rf"own\.safetensors: has weights of the network '{name}', and a checkpoint never imports code\n.*--model {name}"
    )
    with pytest.raises(CheckpointError, match=says):
        sat.evaluate(path, IMAGES, LABELS, **OPTIONS)
    with pytest.raises(SpecError, match="mean, std: for weights of other programs only"):
        sat.evaluate(name, IMAGES, LABELS, weights=path, mean=(0.5,), std=(0.25,), **OPTIONS)
    # the head of a transfer is on a network for the classes of its source
    head = backend.build(name, classes=7, image_shape=(4, 4, 1)).with_head(3)
    metadata = {"model": {}, "network": {"name": name, **head.inputs.to_dict()}}
    source = {"classes": 7, "image_shape": (4, 4, 1), "mean": (), "std": ()}
    checkpoint.save(path, {"model": head.state()}, {**metadata, "source": source})
    opened = open_network(backend, InputSpec(3, (4, 4, 1)), path, name)
    np.testing.assert_array_equal(opened.classifier.logits(IMAGES), head.logits(IMAGES))
    for damaged in ({"network": None}, {"network": {"classes": "x"}}, {"network": [3]}):
        checkpoint.save(path, {"model": trained.state()}, {"model": {}, **damaged})
        with pytest.raises(CheckpointError, match=r"own\.safetensors: what it says of its images makes no network"):
            sat.evaluate(name, IMAGES, LABELS, weights=path, **OPTIONS)


def test_a_checkpoint_of_a_librarys_network_says_which_it_is(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked, path = [], tmp_path / "own.safetensors"

    def zoo(name: ZooName, inputs: InputSpec) -> ZooNetwork:
        asked.append(name.options)
        return ZooNetwork(native=network(2, inputs.classes), inputs=inputs)

    monkeypatch.setattr(type(backend), "zoos", lambda _: {"timm": zoo})
    trained = backend.wrap_for(InputSpec(3, (4, 4, 1), (0.5,), (0.25,)), network(5))

    def save(name: str) -> None:
        described = {"name": name, **trained.inputs.to_dict()}
        checkpoint.save(path, {"model": trained.state()}, {"model": {}, "network": described})

    save("timm:net?size=4&drop_rate=0.0&pretrained&checkpoint_path=/tmp/other.pt")
    opened = open_network(backend, trained.inputs.inner, path, "")
    assert asked == [{"size": "4", "drop_rate": "0.0"}]
    np.testing.assert_array_equal(opened.classifier.logits(IMAGES), trained.logits(IMAGES))
    for name, says in (
        ("keras:Net", "is a network for the backend 'tensorflow', got 'torch'"),
        ("timm:net?a=b/c", r"own\.safetensors: model: expected words and numbers, got 'b/c'"),
        ("timm:net?a=1&a=2", r"own\.safetensors: model\.name: expected OPTION or OPTION=VALUE"),
        ("robustbench:a?b&c", r"a checkpoint never imports code\n.*--model 'robustbench:a\?b&c'$"),
    ):
        save(name)
        with pytest.raises((CheckpointError, SpecError), match=says):
            sat.evaluate(path, IMAGES, LABELS, **OPTIONS)


def test_what_cannot_be_evaluated_says_what_is_missing(tmp_path: Path, factory: str) -> None:
    path = tmp_path / "own.pt"
    torch.save(network(classes=5).state_dict(), path)
    for model, options, says in (
        (path, {}, r"own\.pt: has weights, and does not say of which network\n.*evaluate\(model, \.\.\., weights=path"),
        (tmp_path / "gone.pt", {}, r"gone\.pt: no such checkpoint"),
        (f"{factory}:make", {"weights": path}, r"own\.pt: '1\.weight': expected shape \(3, 16\), got shape \(5, 16\)"),
        (f"{factory}:make", {"weights": path, "output": "head"}, r"model\.output: expected a part of what the model"),
    ):
        with pytest.raises((CheckpointError, SpecError), match=says):
            sat.evaluate(model, IMAGES, LABELS, **OPTIONS, **options)
