"""Files of Keras, of any program: read whatever is around the weights, and never executed."""

from __future__ import annotations

import json
import os
import shutil
import warnings
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from sat_core.backend import Backend
from sat_core.classifier import Classifier
from sat_core.errors import CheckpointError
from sat_core.input_spec import InputSpec

pytestmark = pytest.mark.tensorflow

SHAPE = (4, 4, 1)
IMAGES = np.random.default_rng(0).random((5, *SHAPE), np.float32)


def network(seed: int = 0, classes: int = 3, more: str = "", **options: Any) -> Any:
    """Return a small network, with a layer more before its last ones if one is named."""
    import keras  # not above: the backend has to be imported before TensorFlow

    keras.utils.set_random_seed(seed)
    kinds = {**vars(keras.layers), "Registered": keras.saving.get_registered_object("test-weights>Registered")}
    between = [kinds[more](**options)] if more else []
    layers = [keras.layers.Conv2D(2, 3), keras.layers.BatchNormalization(), *between, keras.layers.Flatten()]
    layers.append(keras.layers.Dropout(0.5))  # its state is no weight, and not saved
    return keras.Sequential([keras.Input(SHAPE), *layers, keras.layers.Dense(classes)])


def register() -> None:
    """Register a layer of somebody's package, as their module does when it is imported."""
    import keras

    @keras.saving.register_keras_serializable("test-weights")
    class Registered(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x


def classifier(backend: Backend) -> Classifier:
    return backend.wrap(network(), image_shape=SHAPE)


def saved(model: Any, path: Path) -> Path:
    save = model.save_weights if path.name.endswith(".weights.h5") else model.save
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation doesn't accept a copy", DeprecationWarning)
        save(path)
    return path


def refusal(backend: Backend, path: Path, into: Classifier | None = None) -> str:
    """Return why weights, or else the network in the file, are refused; a network keeps its weights."""
    before = {} if into is None else into.state()
    load = partial(backend.load_network, InputSpec(3, SHAPE)) if into is None else partial(backend.load_weights, into)
    with pytest.raises(CheckpointError) as error:
        load(path)
    assert into is None or all(np.array_equal(value, before[name]) for name, value in into.state().items())
    message = str(error.value)
    assert message.startswith(str(path))
    assert len(message.splitlines()) <= 3
    return message.removeprefix(str(path))


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_weights_and_networks_come_out_of_every_file_of_keras(backend: Backend, tmp_path: Path) -> None:
    other = network(1)
    expected = backend.wrap(other, image_shape=SHAPE).logits(IMAGES)
    for name in ("own.keras", "own.h5", "own.weights.h5"):
        path, into = saved(other, tmp_path / name), classifier(backend)
        assert backend.load_weights(into, path) == ()
        np.testing.assert_array_equal(into.logits(IMAGES), expected)
        if name == "own.weights.h5":
            assert ": has weights, and does not say of which network" in refusal(backend, path)
        else:
            np.testing.assert_array_equal(backend.load_network(InputSpec(3, SHAPE), path).logits(IMAGES), expected)
    shutil.move(tmp_path / "own.weights.h5", tmp_path / "odd.h5")
    assert "Keras expects a name like NAME.weights.h5; rename it" in refusal(backend, tmp_path / "odd.h5", into)


def test_weights_of_another_network_are_refused(backend: Backend, tmp_path: Path) -> None:
    models = network(1, 4), network(1, 3, "Dense", units=2), network(1, 3, "BatchNormalization")
    for n, model in enumerate(models):
        for suffix in (".keras", ".weights.h5"):
            says = refusal(backend, saved(model, tmp_path / f"own{n}{suffix}"), classifier(backend))
            assert "of another network" in says
    nan = network(1)
    nan.layers[-1].bias.assign([1.0, float("nan"), 0.0])
    assert "expected finite numbers" in refusal(backend, saved(nan, tmp_path / "nan.keras"), classifier(backend))


def test_a_new_last_layer_keeps_its_own_weights(backend: Backend, tmp_path: Path) -> None:
    other, into = network(1, 7), classifier(backend)
    own, names = into.state(), list(into.state())[-2:]
    (line,) = backend.load_weights(into, saved(other, tmp_path / "own.keras"), tuple(names))
    assert line == f"the last layer is new: {', '.join(names)}"
    state = into.state()
    assert all(np.array_equal(state[name], own[name]) for name in names)
    np.testing.assert_array_equal(state["0.weight"], np.transpose(other.layers[0].kernel.numpy(), (3, 2, 0, 1)))


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_nothing_in_a_file_is_executed_or_imported(backend: Backend, tmp_path: Path) -> None:
    made = tmp_path / "made"
    lambdas = network(1, 3, "Lambda", function=lambda x, folder=str(made): (os.mkdir(folder), x)[1])
    made.rmdir()  # the layer ran when it was built
    for name in ("lambda.keras", "lambda.h5"):
        assert ": has a layer 'Lambda', which is a program\n" in refusal(backend, saved(lambdas, tmp_path / name))
    register()
    registered = saved(network(1, 3, "Registered"), tmp_path / "registered.keras")
    assert backend.load_network(InputSpec(3, SHAPE), registered).logits(IMAGES).shape == (5, 3)
    # Only who reads this file may say what is imported.
    for changes, says in (
        (
            {"module": "evil", "registered_name": "evil>Registered"},
            "has a part 'evil.Registered', which is not Keras's",
        ),
        ({"module": "os", "class_name": "mkdir", "registered_name": "mkdir"}, "has a part 'os.mkdir'"),
        ({"module": None, "registered_name": "evil>Registered"}, "has a part 'evil>Registered'"),
        ({"module": "keras.layers", "class_name": "TFSMLayer", "registered_name": None}, "has a layer 'TFSMLayer'"),
        (
            {"module": "keras.utils", "class_name": "get_file", "registered_name": None},
            "damaged, or of another version",
        ),
    ):
        path = tmp_path / "changed.keras"
        _change(registered, path, changes)
        assert says in refusal(backend, path)
    assert not made.exists()


def _change(path: Path, to: Path, changes: dict[str, Any]) -> None:
    """Write a .keras file in which the registered layer says something else."""
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(to, "w") as changed:
        for name in archive.namelist():
            content = archive.read(name)
            if name == "config.json":
                config = json.loads(content)
                layer = next(layer for layer in config["config"]["layers"] if layer["class_name"] == "Registered")
                layer.update(changes)
                content = json.dumps(config).encode()
            changed.writestr(name, content)


def test_damaged_files_are_named(backend: Backend, tmp_path: Path) -> None:
    for suffix in (".keras", ".weights.h5"):
        path = saved(network(1), tmp_path / f"own{suffix}")
        whole = path.read_bytes()
        for damaged in (b"", whole[:100], whole[: len(whole) // 2]):
            path.write_bytes(damaged)
            assert "truncated or not a file of Keras" in refusal(backend, path, classifier(backend))
            assert "truncated or not a file of Keras" in refusal(backend, path)
    with h5py.File(tmp_path / "own.h5", "w") as file:
        file.attrs["model_config"] = "[" * 10**4
    assert "truncated or not a file of Keras" in refusal(backend, tmp_path / "own.h5")


def test_files_of_pytorch_name_the_backend_that_reads_them(backend: Backend, tmp_path: Path) -> None:
    (tmp_path / "old.pth").write_bytes(b"\x80\x02}q\x00.")
    with zipfile.ZipFile(tmp_path / "own.pt", "w") as archive:
        archive.writestr("own/data.pkl", b"")
    for name in ("old.pth", "own.pt"):
        assert "--backend torch" in refusal(backend, tmp_path / name, classifier(backend))
        assert "--backend torch" in refusal(backend, tmp_path / name)
