"""Fine-tuning on each backend: networks of one's own and of libraries, from weights, all of them or the last layer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from safetensors.numpy import save_file
from toys import job, own_network

import sat_core as sat
from sat_core import checkpoint
from sat_core.arm import run_arm
from sat_core.backend import Backend
from sat_core.classifier import Classifier
from sat_core.data import DataSet, Examples
from sat_core.errors import SpecError
from sat_core.input_spec import InputSpec
from sat_core.named_networks import rebuilt
from sat_core.ranking import Ranking
from sat_core.reevaluation import evaluate_arm
from sat_core.scaling import Scaling
from sat_core.testing import samples
from sat_core.transfer import Source
from sat_core.zoos import ZooName, ZooNetwork

pytestmark = pytest.mark.backend

QUICK = {
    "training.batch_size": 8,
    "training.threads": 1,
    "evaluation.attacks": ["apgd-ce"],
    "evaluation.selection_attacks": ["apgd-ce"],
    "evaluation.selection_epochs": [1],
    "evaluation.examples": 4,
}


def data() -> DataSet:
    parts = {"train": samples.examples(16), "test": samples.examples(12, seed=2)}
    return DataSet(name="samples", **parts, class_names=tuple("abcde"), mean=samples.MEAN, std=samples.STD)


def grey() -> DataSet:
    parts = {
        n: Examples(p.images[..., :1], p.labels, 5, n) for n, p in (("train", data().train), ("test", data().test))
    }
    return DataSet(name="grey", **parts, class_names=tuple("abcde"), mean=(0.5,), std=(0.25,))


def wrapped(backend: Backend, seed: int = 0, classes: int = 5) -> Classifier:
    """A user's network with BatchNorm and dropout, its last layer replaced where there are other classes."""
    native = own_network(backend, seed)
    if classes != 5:
        if backend.name == "torch":
            from torch import nn

            native[-1] = nn.Linear(144, classes)
        else:
            import keras

            native.pop()
            native.add(keras.layers.Dense(classes))
    return backend.wrap(native, image_shape=samples.SHAPE, classes=classes)


def test_the_last_layer_is_found_by_what_it_does(backend: Backend, tmp_path: Path) -> None:
    three, five = wrapped(backend, 1, classes=3), wrapped(backend, 2)
    last = five.last_layer()
    assert sorted(name.rpartition(".")[2] for name in last) == ["bias", "weight"]
    assert {five.state()[name].shape for name in last} == {(5, 144), (5,)}
    save_file(three.state(), tmp_path / "three.safetensors")
    before = five.state()
    lines = backend.load_weights(five, tmp_path / "three.safetensors", five.last_layer())
    assert lines == (f"the last layer is new: {', '.join(last)}",)
    for name, value in five.state().items():
        assert np.array_equal(value, (before if name in last else three.state())[name]), name


def test_a_network_whose_logits_no_linear_layer_makes_has_no_head(backend: Backend) -> None:
    if backend.name == "torch":
        from torch import nn

        native: Any = nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    else:
        from keras import Sequential, layers

        native = Sequential([layers.Conv2D(5, 3), layers.GlobalAveragePooling2D()])
    classifier = backend.wrap(native, image_shape=samples.SHAPE)
    assert classifier.last_layer() == ()
    with pytest.raises(SpecError, match=r"model\.layers: expected a network whose logits"):
        classifier.learn("head")


def test_of_a_network_that_is_passed_the_last_layer_learns_alone(backend: Backend) -> None:
    classifier = wrapped(backend)
    before = classifier.state()
    settings = {**QUICK, "model.layers": "head", "training.lr": 0.1}
    options: dict[str, Any] = {"backend": backend, "epochs": 1, "progress": False}
    result = sat.train(classifier.native, data(), strategy="random", settings=settings, **options)
    after, last = result.classifier.state(), result.classifier.last_layer()
    assert {name for name, value in after.items() if not np.array_equal(value, before[name])} == {*last}
    assert result.classifier.head is None  # afterwards the network is trained as before
    result = sat.train(classifier.native, data(), strategy="random", settings=QUICK, **options)
    moved = {name for name, value in result.classifier.state().items() if not np.array_equal(value, after[name])}
    assert moved >= {name for name, value in after.items() if value.dtype == np.float32 and value.ndim == 4}


def test_a_network_that_is_passed_takes_weights_and_normalisation(backend: Backend, tmp_path: Path) -> None:
    given = wrapped(backend, 3)
    save_file(given.state(), tmp_path / "w.safetensors")
    settings = {
        **QUICK,
        "training.lr": 1e-12,
        "training.weight_decay": 0.0,
        "model.layers": "head",
        "model.weights": str(tmp_path / "w.safetensors"),
        "model.mean": list(samples.MEAN),
        "model.std": list(samples.STD),
    }
    options: dict[str, Any] = {"backend": backend, "epochs": 1, "progress": False, "settings": settings}
    result = sat.train(own_network(backend, 4), data(), subset=0.0, **options)
    expected = backend.wrap(given.native, image_shape=samples.SHAPE, mean=samples.MEAN, std=samples.STD)
    images = data().test.images
    np.testing.assert_allclose(result.classifier.logits(images), expected.logits(images), atol=1e-4)
    assert result.results.weights is not None


def test_in_float64_the_last_layer_still_learns_alone(backend: Backend) -> None:
    classifier = samples.build(backend, "small-cnn")
    before = classifier.state()
    classifier.learn("head")
    training = samples.training(precision="float64")
    trainer = backend.trainer(classifier, samples.examples(), training, samples.attack(steps=1))
    samples.train(trainer, samples.plans(24, 0.5, training, samples.attack(steps=1))[:1])
    changed = {name for name, value in classifier.state().items() if not np.array_equal(value, before[name])}
    assert changed == {"fc.weight", "fc.bias"}


class Library:
    """A zoo with one network, whose own weights are for coloured images of 10 x 10 pixels."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.asked: list[Mapping[str, str]] = []

    def __call__(self, name: ZooName, inputs: InputSpec) -> ZooNetwork:
        self.asked.append(name.options)
        if "pretrained" not in name.options:
            return ZooNetwork(native=self._native(inputs.network_shape, 7), inputs=inputs)
        scaling = Scaling(size=10, interpolation="nearest", channels=3)
        recorded = attrs.evolve(inputs, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2), scaling=scaling)
        return ZooNetwork(native=self._native((10, 10, 3), 8), inputs=recorded, taken="library: mean (0.5, 0.4, 0.3)")

    def _native(self, shape: tuple[int, int, int], seed: int) -> Any:
        with self.backend.seeded(seed):
            if self.backend.name == "torch":
                from torch import nn

                return nn.Sequential(
                    nn.Conv2d(shape[2], 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)
                )
            from keras import Input, Sequential, layers

            convolution = layers.Conv2D(4, 3, activation="relu")
            return Sequential([Input(shape), convolution, layers.GlobalAveragePooling2D(), layers.Dense(5)])


@pytest.fixture
def library(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> Library:
    made = Library(backend)
    monkeypatch.setattr(type(backend), "zoos", lambda _: {"lib": made})
    return made


def test_weights_of_a_library_are_fetched_once_and_its_record_is_kept(
    backend: Backend, library: Library, tmp_path: Path
) -> None:
    keys = {"model.name": "lib:net?pretrained", "model.layers": "head", "subset.strategy": "random"}
    keys |= {"training.epochs": 1, "training.batch_size": 8, "evaluation.selection_epochs": [1]}
    arm = job(tmp_path / "arm", keys=keys, data=grey(), backend=backend)
    inputs = arm.build().inputs
    assert inputs.network_shape == (10, 10, 3)
    results = run_arm(arm, Ranking())
    assert results.weights is not None
    assert results.weights.taken == ("library: mean (0.5, 0.4, 0.3)",)
    assert results.weights.fingerprint == ""
    library.asked.clear()
    source = Source.read(arm.folder)
    assert source.inputs == inputs
    loaded, again = source.load(backend), arm.load_best()
    assert library.asked == [{}, {}]
    images = grey().test.images
    assert np.array_equal(loaded.logits(images), again.logits(images))
    assert (loaded.inputs, again.inputs) == (inputs, inputs)
    metadata = checkpoint.read(arm.folder.path).metadata
    assert InputSpec.from_dict(json.loads(json.dumps(metadata["network"]))) == inputs
    evaluated = evaluate_arm(arm, "screening")
    assert evaluated.clean_accuracy == results.clean_accuracy
    assert library.asked == [{}] * 3


def test_normalisation_that_is_given_comes_before_that_of_the_library(
    backend: Backend, library: Library, tmp_path: Path
) -> None:
    keys = {"model.name": "lib:net?pretrained", "model.mean": [0.1], "model.std": [0.5]}
    network = job(tmp_path, keys=keys, data=grey(), backend=backend).build()
    assert (network.inputs.mean, network.inputs.std) == ((0.1,) * 3, (0.5,) * 3)
    assert network.inputs.network_shape == (10, 10, 3)
    assert network.taken[-1] == "mean and std are model.mean and model.std"
    assert rebuilt(backend, network.inputs, "lib:net?pretrained&x=1").inputs == network.inputs
    assert library.asked[-1] == {"x": "1"}
