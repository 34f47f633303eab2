"""What every backend does beyond the contract: models, switches, checkpoints, refusals."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toys import own_network

from sat_core import checkpoint
from sat_core.backend import Backend, get_backend
from sat_core.errors import CheckpointError, DataError, SpecError
from sat_core.testing import samples
from sat_core.testing.parity import IMAGE_SHAPES

pytestmark = pytest.mark.backend

COUNTS = {
    ("small-cnn", 10, (8, 8, 1)): 94_186,
    ("resnet18", 10, (32, 32, 3)): 11_173_962,
    ("wide-preact-resnet18", 10, (32, 32, 3)): 21_333_834,
    ("wide-preact-resnet18", 100, (32, 32, 3)): 21_380_004,
    ("resnet50", 200, (64, 64, 3)): 23_917_832,
    ("linear", 10, (8, 8, 1)): 650,
}


@pytest.mark.parametrize(("model", "classes", "shape"), COUNTS)
def test_models_have_their_published_size_and_run(backend: Backend, model: str, classes: int, shape: Any) -> None:
    classifier = backend.build(model, classes=classes, image_shape=shape)
    weights = [value.size for name, value in classifier.state().items() if "running" not in name]
    assert sum(weights) == COUNTS[model, classes, shape]
    images, labels = np.random.default_rng(0).random((2, *shape), np.float32), np.array([0, 1])
    logits, _, gradient = classifier.loss_gradient(images, labels)
    assert logits.shape == (2, classes)
    assert np.abs(gradient).sum() > 0
    assert {name.rsplit(".", 1)[1] for name in classifier.state()} <= {"weight", "bias", "running_mean", "running_var"}


def test_every_registered_model_is_counted(backend: Backend) -> None:
    assert {model for model, _, _ in COUNTS} == set(backend.models())


def train(backend: Backend, **changes: Any) -> tuple[dict[str, np.ndarray], np.ndarray]:
    data = samples.examples(whole=True)
    training, attack = samples.training(**changes), samples.attack()
    classifier = samples.build(backend, "small-cnn")
    plans = samples.plans(len(data), 0.4, training, attack)
    with backend.session(training):
        losses = samples.train(backend.trainer(classifier, data, training, attack), plans)
    return classifier.state(), losses


@pytest.mark.parametrize(
    ("changes", "tolerance"),
    [
        ({"channels_last": True}, 1e-3),
        ({"precision": "float64"}, 1e-3),
        ({"precision": "bf16"}, 0.15),
        ({"precision": "fp16"}, 0.05),
        ({"deterministic": True}, 1e-3),
        ({"compile": True}, 1e-3),
    ],
    ids=str,
)
def test_switches_change_the_arithmetic_but_not_the_training(backend: Backend, changes: Any, tolerance: float) -> None:
    (state, losses), (_, expected) = train(backend, **changes), train(backend)
    np.testing.assert_allclose(losses, expected, atol=tolerance)
    assert all(np.isfinite(value).all() for value in state.values())
    if "precision" in changes:
        assert (losses != expected).any()


@pytest.mark.parametrize("changes", [{"precision": "fp16"}, {"precision": "bf16", "optimizer": "adamw"}], ids=str)
def test_training_goes_on_in_any_precision(backend: Backend, changes: Any) -> None:
    data, training, attack = samples.examples(whole=True), samples.training(lr=1e-3, **changes), samples.attack()
    plans = samples.plans(len(data), 0.4, training, attack)
    whole, broken, again = (samples.build(backend, "small-cnn") for _ in range(3))
    samples.train(backend.trainer(whole, data, training, attack), plans)
    first, second = (backend.trainer(each, data, training, attack) for each in (broken, again))
    samples.train(first, plans, 2)
    again.load_state(broken.state())
    second.load_state(first.state())
    assert (training.precision == "fp16") == ("scaler.growth_tracker" in first.state())
    second.run(plans[0], first=2)
    samples.train(second, plans[1:])
    for name, value in whole.state().items():
        np.testing.assert_array_equal(again.state()[name], value)


def test_float64_models_are_attacked_in_float32(backend: Backend) -> None:
    import torch

    classifier, data = samples.build(backend, "small-cnn"), samples.examples()
    expected = classifier.logits(data.images)
    backend.trainer(classifier, data, samples.training(precision="float64"), samples.attack())
    logits = classifier.as_torch_module()(torch.from_numpy(data.images.transpose(0, 3, 1, 2).copy()))
    assert logits.dtype == torch.float32
    np.testing.assert_allclose(logits.detach().numpy(), expected, atol=1e-4)
    assert classifier.perturb(data.images, data.labels, samples.attack()).dtype == np.float32


def test_training_goes_on_with_layers_that_draw(backend: Backend) -> None:
    data, training, attack = samples.examples(whole=True), samples.training(), samples.attack()
    plans = samples.plans(len(data), 0.4, training, attack)
    whole, broken, again = (
        backend.wrap(own_network(backend, seed), classes=5, image_shape=samples.SHAPE) for seed in (0, 0, 1)
    )
    samples.train(backend.trainer(whole, data, training, attack), plans)
    first = backend.trainer(broken, data, training, attack)
    samples.train(first, plans, 2)
    again.load_state(broken.state())
    second = backend.trainer(again, data, training, attack)
    second.load_state(first.state())
    second.run(plans[0], first=2)
    samples.train(second, plans[1:])
    assert all(np.array_equal(again.state()[name], value) for name, value in whole.state().items())


@contextmanager
def other_defaults(backend: Backend) -> Iterator[None]:
    """Change defaults of the whole process, as a user's script or keras.json may."""
    if backend.name == "torch":
        import torch

        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        torch.set_grad_enabled(False)
        try:
            yield
        finally:
            torch.set_default_dtype(torch.float32)
            torch.set_default_device(None)
            torch.set_grad_enabled(True)
        return
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_image_data_format("channels_first")
    keras.config.set_floatx("float64")
    keras.config.set_epsilon(0.1)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        yield
    finally:
        keras.config.set_image_data_format("channels_last")
        keras.config.set_floatx("float32")
        keras.config.set_epsilon(1e-7)
        keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("model", ["linear", "small-cnn", "resnet50"])
def test_defaults_of_the_process_change_no_network(backend: Backend, model: str) -> None:
    shape = IMAGE_SHAPES[model]
    images = samples.examples(3, shape=shape).images
    expected = samples.build(backend, model, shape=shape).logits(images)
    with other_defaults(backend):
        classifier = samples.build(backend, model, shape=shape)
        np.testing.assert_array_equal(classifier.logits(images), expected)
        assert {value.dtype for value in classifier.state().values()} == {np.dtype(np.float32)}
        if model == "small-cnn":
            head = samples.build(backend, model).with_head(7)
            assert head.logits(images).shape == (3, 7)


def test_defaults_of_the_process_change_no_training_and_no_evaluation(backend: Backend) -> None:
    outcomes, data = [], samples.examples(4)
    for context in (nullcontext, lambda: other_defaults(backend)):
        with context():
            state, losses = train(backend, augmentation="cifar")
            classifier = samples.build(backend, "small-cnn")
            made = backend.evaluate(classifier, data.images, data.labels, norm="L2", eps=0.1, attacks=("apgd-ce",))
            outcomes.append([*losses, *made.broken_by, *state["fc.bias"]])
    np.testing.assert_array_equal(*outcomes)


def test_a_users_checkpoint_needs_the_model(backend: Backend, tmp_path: Path) -> None:
    classifier = backend.wrap(own_network(backend), classes=5, image_shape=samples.SHAPE)
    checkpoint.save(
        tmp_path / "own.safetensors", {"model": classifier.state()}, {"model": dict(classifier.description)}
    )
    with pytest.raises(CheckpointError, match="a checkpoint never imports code"):
        backend.load(tmp_path / "own")
    other = backend.wrap(own_network(backend), classes=5, image_shape=samples.SHAPE)
    other.load_state({name: value * 0 for name, value in other.state().items()})
    backend.load(tmp_path / "own", into=other)
    np.testing.assert_array_equal(other.logits(samples.examples().images), classifier.logits(samples.examples().images))


@pytest.mark.parametrize("cut", [0, 5, 100, -1])
def test_truncated_checkpoints_are_named(backend: Backend, tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.safetensors"
    classifier = samples.build(backend, "linear")
    checkpoint.save(path, {"model": classifier.state()}, {"model": dict(classifier.description)})
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(CheckpointError, match=r"a\.safetensors: truncated or not a safetensors file"):
        backend.load(path)


def test_foreign_checkpoints_are_named(backend: Backend, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "a.safetensors"
    classifier = samples.build(backend, "linear")
    save_file({"x": np.zeros(3)}, tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match=r"foreign\.safetensors: not a checkpoint of sat-core"):
        backend.load(tmp_path / "foreign.safetensors")
    whole = dict(classifier.description)
    for odd in ({"classes": "five"}, {"classes": 10**12}, {"image_shape": [10**6] * 3}, {"mean": [None]}):
        checkpoint.save(path, {"model": classifier.state()}, {"model": {**whole, **odd}})
        with pytest.raises(CheckpointError, match="what it says of its model makes none"):
            backend.load(path)
    checkpoint.save(path, {"model": classifier.state()}, {"model": ["linear"]})
    with pytest.raises(CheckpointError, match=r"its model \"\['linear'\]\" is not one of"):
        backend.load(path)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        backend.load(tmp_path / "nothing")


def test_files_of_other_libraries_are_named(backend: Backend, tmp_path: Path) -> None:
    import torch

    classifier = samples.build(backend, "linear")
    state = {name: torch.from_numpy(value) for name, value in classifier.state().items()}
    torch.save(state, tmp_path / "zip.pt")
    torch.save(state, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    np.savez(tmp_path / "arrays.npz", **classifier.state())
    (tmp_path / "model.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99))
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("model.weights.h5", b"")
    for name, says in (
        ("zip.pt", "a file of torch.save, no checkpoint of sat-core\n.*--backend torch.* backend.load_weights"),
        ("legacy.pth", "a file of torch.save"),
        ("arrays.npz", r"an \.npz of numpy\npass its arrays"),
        ("model.h5", "a file of Keras.*\n.*--backend tensorflow"),
        ("model.keras", "a file of Keras"),
    ):
        with pytest.raises(CheckpointError, match=rf"{name}: {says}") as caught:
            backend.load(tmp_path / name, into=classifier)
        assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize(
    ("prefix", "whose"), [("module.", "DistributedDataParallel"), ("_orig_mod.", "torch.compile")], ids=str
)
def test_weights_inside_of_a_wrapper_are_the_same_network(backend: Backend, prefix: str, whose: str) -> None:
    classifier = samples.build(backend, "small-cnn")
    state = {f"{prefix}{name}": value for name, value in classifier.state().items()}
    with pytest.raises(CheckpointError, match=rf"names of the state have .*{whose}.*\nstrip it: .*{prefix}") as caught:
        classifier.load_state(state)
    assert "another architecture" not in str(caught.value)
    classifier.load_state({name.replace(prefix, ""): value for name, value in state.items()})
    with pytest.raises(CheckpointError, match="it belongs to another architecture"):
        classifier.load_state({**state, "more": np.zeros(1)})
    both = {f"module._orig_mod.{name}": value for name, value in classifier.state().items()}
    with pytest.raises(CheckpointError, match="names of the state have"):
        classifier.load_state(both)


@pytest.mark.torch
def test_models_inside_of_a_wrapper_say_what_to_wrap(backend: Backend) -> None:
    from torch import nn

    plain = backend.wrap(own_network(backend), classes=5, image_shape=samples.SHAPE)
    parallel = backend.wrap(nn.DataParallel(own_network(backend)), classes=5, image_shape=samples.SHAPE)
    with pytest.raises(
        CheckpointError, match=r"names of the model have 'module'.*\nwrap the module inside: model\.module"
    ):
        parallel.load_state(plain.state())
    with pytest.raises(CheckpointError, match="names of the state have 'module'"):
        plain.load_state(parallel.state())


def test_wrong_calls_say_what_was_expected(backend: Backend) -> None:
    for device in ("tpu", "cuda:99", "gpu"):
        with pytest.raises(SpecError, match="device"):
            get_backend(backend.name, device)
    options: dict[str, Any] = {"classes": 5, "image_shape": samples.SHAPE}
    with pytest.raises(SpecError, match="unknown model 'resnet-18' \\(did you mean 'resnet18'\\?\\)"):
        backend.build("resnet-18", **options)
    with pytest.raises(SpecError, match="cannot import 'nowhere:make'"):
        backend.build("nowhere:make", **options)
    with pytest.raises(SpecError, match=r"expected a .*, got str"):
        backend.wrap("resnet18", **options)
    with pytest.raises(SpecError, match=r"mean, std: expected none or one per channel \(3\)"):
        backend.build("linear", **options, mean=(0.5,), std=(0.5,))
    classifier = samples.build(backend, "linear")
    for images in (samples.examples().images * 2, samples.examples().images[0], np.zeros((1, 8, 8, 3), np.int64)):
        with pytest.raises(DataError, match="expected"):
            classifier.logits(images)
    with pytest.raises(SpecError, match=r"attack\.eps: expected less than 13\.86, the L2 diameter of 8 x 8 x 3 images"):
        classifier.perturb(samples.examples(1).images, np.array([0]), samples.attack(eps=127))
    with pytest.raises(DataError, match=r"labels in 0\.\.4"):
        classifier.perturb(samples.examples(1).images, np.array([5]), samples.attack())
