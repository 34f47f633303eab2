"""`sat export`: a folder that `load_model` loads, and that the lines of its card load without any of our packages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lines_of_cards import by_lines_of_the_cards, close
from safetensors import safe_open
from toys import own_network, toy

import sat_core as sat
from sat_core.backend import Backend
from sat_core.checkpoint import save
from sat_core.errors import CheckpointError, RunDirectoryError, SatError, SpecError
from sat_core.input_spec import InputSpec
from sat_core.scaling import Scaling
from sat_evaluation.cli import main
from sat_evaluation.publish.export import export, is_export

pytestmark = pytest.mark.backend

FACTORY = {
    "torch": """
from torch import nn
def make(classes, image_shape):
    h, w, c = image_shape
    features = nn.Sequential(nn.Conv2d(c, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten())
    return nn.Sequential(features, nn.Linear(2 * (h - 2) * (w - 2), classes))
class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(36, 1)
    def forward(self, images):
        return {"features": images, "logits": self.fc(images.flatten(1))}
def two(classes, image_shape): return Two()
""",
    "tensorflow": """
import keras
from keras import layers
def make(classes, image_shape):
    return keras.Sequential([layers.Conv2D(2, 3), layers.BatchNormalization(), layers.Flatten(), layers.Dense(classes)])
def two(classes, image_shape):
    images = keras.Input(image_shape)
    logits = layers.Dense(1)(layers.Flatten()(images))
    return keras.Model(images, {"features": images, "logits": logits})
""",
}


@pytest.fixture(scope="module")
def trained(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> sat.TrainingResult:
    """A small network, trained for two epochs, with results in a folder."""
    folder = tmp_path_factory.mktemp("run") / "out"
    short: dict[str, Any] = {"training.threads": 1, "training.batch_size": 32}
    short |= {"evaluation.selection_attacks": ["apgd-ce"], "evaluation.attacks": ["apgd-ce"]}
    options: dict[str, Any] = {"backend": backend, "out": folder, "progress": False, "settings": short}
    return sat.train("small-cnn", toy(), subset=0.5, strategy="random", epochs=2, **options)


def arm_of(result: sat.TrainingResult) -> Path:
    assert result.folder is not None
    return next((result.folder / "arms").iterdir())


def test_a_trained_network_leaves_and_comes_back(
    trained: sat.TrainingResult, backend: Backend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = toy().test.images[:4]
    assert main(["export", str(arm_of(trained)), str(tmp_path / "a"), "--licence", "MIT"]) == 0
    assert "README.md, config.json, model.py, model.safetensors" in capsys.readouterr().out
    loaded = sat.load_model(tmp_path / "a", backend)
    np.testing.assert_array_equal(loaded.logits(images), trained.classifier.logits(images))
    assert loaded.default_attack == trained.classifier.default_attack
    (logits,) = by_lines_of_the_cards({tmp_path / "a": images}, backend, tmp_path)
    close(logits, trained.classifier.logits(images))
    with safe_open(tmp_path / "a" / "model.safetensors", "numpy") as file:
        assert file.metadata() == {"format": "pt"}
        assert sorted(file.keys()) == sorted(trained.classifier.state())
    # What `train` returned and the checkpoint itself are the same network, and the first knows its results, too.
    export(trained, tmp_path / "b", licence="MIT")
    export(arm_of(trained) / "checkpoint-best.safetensors", tmp_path / "c", licence="MIT")
    for other in ("b", "c"):
        for name in ("README.md", "config.json", "model.safetensors", "model.py"):
            assert (tmp_path / other / name).read_bytes() == (tmp_path / "a" / name).read_bytes(), (other, name)
    assert not list(tmp_path.glob(".*"))


def test_every_kind_of_network_comes_back_and_has_code_without_us(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours, with what stands in front of them, with a head; a user's, with logits among other things, or one logit."""
    monkeypatch.syspath_prepend(tmp_path)
    own = f"own_{backend.name}"
    (tmp_path / f"{own}.py").write_text(FACTORY[backend.name])
    scaling = Scaling(size=(24, 20), crop=(19, 16), interpolation="bicubic", channels=3)
    grey = InputSpec(4, (8, 9, 1), (0.4,), (0.3,))
    scaled = InputSpec(4, (16, 18, 1), (0.4, 0.3, 0.2), (0.3, 0.2, 0.1), scaling)
    cases = [
        *((grey, name) for name in ("linear", "resnet18", "wide-preact-resnet18")),
        (scaled, "small-cnn"),
        (InputSpec(4, (8, 9, 3), scaling=Scaling(size=6)), "linear"),
        (InputSpec(4, (8, 9, 3), scaling=Scaling(size=(9, 12), interpolation="nearest")), "linear"),
        (grey, f"{own}:make"),
        (InputSpec(2, (6, 6, 1), (0.4,), (0.3,), None, "logits"), f"{own}:two"),
        (InputSpec(2, (6, 6, 1), (0.4,), (0.3,)), f"{own}:two"),
    ]
    classifiers = [(backend.build_for(inputs, name, seed=n), name) for n, (inputs, name) in enumerate(cases)]
    classifiers.append((backend.build_for(grey, "small-cnn").with_head(3, seed=2), "small-cnn"))
    folders: dict[Path, np.ndarray] = {}
    expected = []
    for number, (classifier, name) in enumerate(classifiers):
        factory = name if ":" in name else None
        folder, images = tmp_path / str(number), np.random.default_rng(number).random((3, *classifier.image_shape))
        assert export(classifier, folder, backend=backend, model=factory).checked, name
        loaded = sat.load_model(folder, backend, model=factory)
        folders[folder] = images.astype(np.float32)
        expected.append(classifier.logits(folders[folder]))
        np.testing.assert_array_equal(loaded.logits(folders[folder]), expected[-1], name)
        assert "No accuracy was measured" in (folder / "README.md").read_text()
    for got, logits in zip(by_lines_of_the_cards(folders, backend, tmp_path), expected, strict=True):
        close(got, logits)
    with pytest.raises(SpecError, match="an export never imports code"):
        sat.load_model(tmp_path / "6", backend)


def test_a_checkpoint_of_ones_own_network_says_what_it_is_of(backend: Backend, tmp_path: Path) -> None:
    classifier = backend.wrap(own_network(backend), image_shape=(8, 8, 3))
    network = {"name": "mine:make", "backend": backend.name, **classifier.inputs.to_dict()}
    save(tmp_path / "best.safetensors", {"model": classifier.state()}, {"model": {}, "network": network})
    made = export(tmp_path / "best", tmp_path / "out")
    assert not made.checked
    loaded = sat.load_model(tmp_path / "out", model=own_network(backend, seed=9), backend=backend)
    images = np.random.default_rng(0).random((3, 8, 8, 3), np.float32)
    np.testing.assert_array_equal(loaded.logits(images), classifier.logits(images))
    save(tmp_path / "old.safetensors", {"model": classifier.state()}, {"model": {}})
    with pytest.raises(CheckpointError, match="does not say what network it is of"):
        export(tmp_path / "old", tmp_path / "other")
    with pytest.raises(SpecError, match="expected a path, a TrainingResult or a Classifier"):
        export(classifier.native, tmp_path / "other")


def test_a_folder_is_whole_or_not_there_and_never_replaces_anything_else(
    trained: sat.TrainingResult, backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, other = tmp_path / "out", backend.build_for(InputSpec(3, (6, 6, 1)), "linear", seed=5)

    def fails(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("sat_evaluation.publish.export.card", fails)
        with pytest.raises(OSError, match="No space"):
            export(trained, target)
    assert not list(tmp_path.iterdir())
    target.mkdir()
    export(trained, target)
    (target / "notes.txt").write_text("mine")
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    assert main(["export", str(arm_of(trained)), str(target)]) == 0
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before
    with pytest.raises(RunDirectoryError, match="is the export of other weights"):
        export(other, target, backend=backend)
    (target / "config.json").unlink()
    with pytest.raises(RunDirectoryError, match="has files, and is no export"):
        export(trained, target)
    with pytest.raises(RunDirectoryError, match="expected a folder, got a file"):
        export(trained, target / "notes.txt")
    assert not is_export(target)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_weights_that_do_not_fit_what_the_checkpoint_says_are_not_exported(
    trained: sat.TrainingResult, backend: Backend, tmp_path: Path
) -> None:
    described = {**trained.classifier.description, "classes": 7}
    save(tmp_path / "odd.safetensors", {"model": trained.classifier.state()}, {"model": described})
    with pytest.raises(SatError, match="expected shape"):
        export(tmp_path / "odd", tmp_path / "out", backend=backend)
    assert [path.name for path in tmp_path.iterdir()] == ["odd.safetensors"]


def test_names_of_folders_stay_at_home(trained: sat.TrainingResult, tmp_path: Path) -> None:
    import attrs

    results = attrs.evolve(trained.results, data=attrs.evolve(trained.results.data, name="npz:/home/me/cats.npz"))
    export(attrs.evolve(trained, results=results), tmp_path / "out")
    for name in ("README.md", "config.json"):
        assert "/home/me" not in (tmp_path / "out" / name).read_text()
    assert "npz:cats.npz" in (tmp_path / "out" / "README.md").read_text()
    assert json.loads((tmp_path / "out" / "config.json").read_text())["class_names"] == ["a", "b", "c"]
