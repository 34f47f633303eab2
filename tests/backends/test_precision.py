"""What is computed in which type: users' networks in half precision, loss scales, TF32; and AutoAttack's device."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

from sat_core.backend import Backend
from sat_core.classifier import Classifier
from sat_core.errors import SpecError
from sat_core.precision import HALF, OF_NETWORK, attack_type, check_precision, least_precise
from sat_core.testing import samples
from sat_core.threat import THREAT_MODELS
from sat_core.training_spec import TrainingSpec

WRAPPED: dict[str, Any] = {"classes": samples.CLASSES, "image_shape": samples.SHAPE}


def network(backend: Backend, dtype: str) -> Any:
    """Make a user's network with weights, or a dtype policy, of that type."""
    if backend.name == "torch":
        import torch
        from torch import nn

        with backend.seeded(0):
            net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 5))
        return net.to(getattr(torch, dtype))
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    stack = [layers.Conv2D(8, 3, activation="relu", dtype=dtype), layers.Flatten(dtype=dtype)]
    return keras.Sequential([keras.Input(samples.SHAPE), *stack, layers.Dense(5, dtype=dtype)])


@pytest.mark.backend
@pytest.mark.parametrize("dtype", HALF)
def test_attacks_on_a_users_half_precision_network_are_float32(backend: Backend, dtype: str) -> None:
    """Were images rounded to the type of the weights, ε = 0 would move them, and the ball would be 1.09 ε."""
    classifier, data = backend.wrap(network(backend, dtype), **WRAPPED), samples.examples()
    assert classifier.precision == dtype
    for norm, eps in (("L2", 0.0), ("L2", 0.1), ("Linf", 2 / 255)):
        attack = samples.attack(norm=norm, eps=eps, step_size=eps / 2)
        adversarial = classifier.perturb(data.images, data.labels, attack)
        assert adversarial.dtype == np.float32
        assert (adversarial != data.images).any() == (eps > 0)
        assert THREAT_MODELS.get(norm).size(adversarial.astype(np.float64) - data.images).max() <= eps + 1e-6
    logits, losses, gradient = classifier.loss_gradient(data.images, data.labels)
    assert (logits.dtype, losses.dtype, gradient.dtype) == (np.float32,) * 3
    assert gradient.reshape(len(gradient), -1).any(axis=1).all()
    assert {value.dtype.name for value in classifier.state().values()} <= {"float16", "float32"}


@pytest.mark.backend
def test_the_label_of_a_half_precision_evaluation(backend: Backend) -> None:
    data = samples.examples(4)
    for dtype in ("bfloat16", "float32"):
        classifier = backend.wrap(network(backend, dtype), **WRAPPED)
        evaluation = backend.evaluate(classifier, data.images, data.labels, norm="L2", eps=0.1, attacks=("fab-t",))
        assert evaluation.precision == dtype


@pytest.mark.backend
@pytest.mark.parametrize(
    ("dtype", "asked", "said"),
    [
        ("float16", "float32", "expected weights in float32, got float16"),
        ("bfloat16", "bf16", "expected weights in float32, got bfloat16"),
        ("mixed_float16", "float32", "'float32' was asked for, but the network itself computes in float16"),
        ("mixed_bfloat16", "fp16", "'fp16' was asked for, but the network itself computes in bfloat16"),
        ("float64", "float32", "'float32' was asked for, but the network itself computes in float64"),
    ],
)
def test_no_training_is_in_a_precision_that_nobody_asked_for(
    backend: Backend, dtype: str, asked: str, said: str
) -> None:
    mixed = dtype.startswith("mixed") and backend.name == "torch"
    native = network(backend, "float32" if mixed else dtype)
    if mixed:
        import torch

        within = torch.autocast("cpu", getattr(torch, dtype.removeprefix("mixed_")))
        native.forward = within(native.forward)
    classifier = backend.wrap(native, **WRAPPED)
    with pytest.raises(SpecError, match=said):
        backend.trainer(classifier, samples.examples(), samples.training(precision=asked), samples.attack())


def test_one_rule_for_all_backends() -> None:
    assert least_precise({"float32", "bfloat16", "int64"}) == "bfloat16"
    assert {name: attack_type(name) for name in ("float16", "bfloat16", "float32", "float64")} == {
        "float16": "float32",
        "bfloat16": "float32",
        "float32": "float32",
        "float64": "float64",
    }
    for precision, of_network in OF_NETWORK.items():
        check_precision(precision, "float32", "float32")
        if of_network not in HALF:
            check_precision(precision, of_network, of_network)
        else:
            check_precision(precision, "float32", of_network)


@pytest.mark.backend
def test_the_first_step_in_fp16_is_not_lost(backend: Backend) -> None:
    """A loss scale of 65,536 overflows where gradients are above 1, and the step is left out."""
    classifier, data = samples.build(backend, "small-cnn"), samples.examples(whole=True)
    state = classifier.state()
    state["fc.weight"] *= np.float32(30)  # logits and gradients far above 1
    classifier.load_state(state)
    training, attack = samples.training(precision="fp16"), samples.attack()
    trainer = backend.trainer(classifier, data, training, attack)
    samples.train(trainer, samples.plans(len(data), 0.4, training, attack), 1)
    assert (classifier.state()["fc.weight"] != state["fc.weight"]).any()
    assert trainer.state()["scaler.growth_tracker"] == 1


def tf32(backend: Backend) -> list[bool]:
    """Whether the framework may round products to TF32: PyTorch has a flag for each of convolutions and matrices."""
    if backend.name == "torch":
        import torch

        places = torch.backends.cudnn.conv, torch.backends.cudnn.rnn, torch.backends.cuda.matmul
        return [place.fp32_precision == "tf32" for place in places]
    import tensorflow as tf

    return [tf.config.experimental.tensor_float_32_execution_enabled()]


@pytest.mark.backend
def test_float32_is_float32_and_tf32_a_value_of_its_own(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tf32(backend)
    with backend.session(TrainingSpec(epochs=1, precision="tf32")):
        assert all(tf32(backend))
        classifier, data = samples.build(backend, "linear"), samples.examples(4)
        seen: list[bool] = []
        inner = type(classifier).as_torch_module(classifier)
        inner.register_forward_hook(lambda *_: seen.extend(tf32(backend)))
        monkeypatch.setattr(type(classifier), "as_torch_module", lambda self: inner)
        backend.evaluate(classifier, data.images, data.labels, norm="L2", eps=0.1, attacks=("fab-t",))
        assert seen
        assert not any(seen)  # AutoAttack's numbers are float32 even then
        assert all(tf32(backend))
    assert tf32(backend) == before
    with backend.session(TrainingSpec(epochs=1)):
        assert not any(tf32(backend))
    assert tf32(backend) == before


@pytest.mark.backend
def test_a_classifier_tells_the_device_of_its_module(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network behind the bridge has no parameters that would show the device."""
    import torch

    from sat_evaluation.attack.model import Model

    classifier: Classifier = samples.build(backend, "linear")
    assert Model(classifier).device == torch.device(classifier.torch_device) == torch.device("cpu")
    monkeypatch.setattr(type(classifier), "torch_device", "meta")
    model = Model(classifier)
    x, y = model.tensors(np.zeros((1, *samples.SHAPE), np.float32), np.zeros(1, np.int64))
    assert {model.device.type, x.device.type, y.device.type} == {"meta"}


@pytest.mark.backend
def test_after_a_first_step_that_overflows_training_goes_on(backend: Backend) -> None:
    """PyTorch's fused SGD then used momentum that nobody had set."""
    classifier, data = samples.build(backend, "small-cnn"), samples.examples(whole=True)
    training, attack = samples.training(precision="fp16"), samples.attack()
    trainer, before = backend.trainer(classifier, data, training, attack), classifier.state()
    trainer.load_state({**trainer.state(), "scaler.scale": np.array(2.0**40, np.float32)})
    plans = samples.plans(len(data), 0.4, training, attack)
    samples.train(trainer, plans, 1)
    assert (classifier.state()["fc.weight"] == before["fc.weight"]).all()
    losses = samples.train(trainer, plans * 8)
    assert np.isfinite(losses).all()
    assert losses.max() < 5
    assert (classifier.state()["fc.weight"] != before["fc.weight"]).any()


@pytest.mark.backend
@pytest.mark.parametrize("dtype", HALF)
def test_the_building_block_mixes_in_float32(backend: Backend, dtype: str) -> None:
    data, split, attack = samples.examples(16), samples.split(16, 0.4), samples.attack(eps=0.1, step_size=0.05)
    native = network(backend, dtype)
    index = np.arange(16)
    if backend.name == "torch":
        import torch

        from sat_torch import SubsetAdversarialStep

        x = torch.from_numpy(data.images.transpose(0, 3, 1, 2).copy())
        mixed, loss = SubsetAdversarialStep(native, split, attack)(
            x, torch.from_numpy(data.labels), torch.from_numpy(index)
        )
        adversarial, loss = mixed.numpy().transpose(0, 2, 3, 1), loss.detach()
    else:
        from sat_tensorflow import SubsetAdversarialStep

        mixed, loss = SubsetAdversarialStep(native, split, attack)(data.images, data.labels, index)
        adversarial = mixed.numpy()
    size = THREAT_MODELS.get("L2").size(adversarial.astype(np.float64) - data.images)
    assert adversarial.dtype == np.float32
    assert ((size > 0) == split.members).all()
    assert size.max() <= 0.1 + 1e-6
    assert np.isfinite(float(loss))


@pytest.mark.backend
@pytest.mark.parametrize(
    ("device", "in_hardware"), [("cpu", True), ("cpu", False), ("cuda:1", True), ("cuda:1", False)]
)
def test_the_fastest_precision_is_one_that_the_device_has_in_hardware(
    backend: Backend, device: str, in_hardware: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = type(backend)
    monkeypatch.setattr(f"{kind.__module__}.cpu_multiplies_bfloat16", lambda: in_hardware)
    capability = (9, 0) if in_hardware else (7, 5)
    if backend.name == "torch":
        import torch

        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        monkeypatch.setattr(torch.cuda, "device", lambda _device: nullcontext())
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: in_hardware)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    else:
        import tensorflow as tf

        monkeypatch.setattr(tf.config, "list_physical_devices", lambda _kind: ["first", "second"])
        details = {"first": {}, "second": {"compute_capability": capability}}
        monkeypatch.setattr(tf.config.experimental, "get_device_details", details.__getitem__)
        monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda *_: None)
    assert kind(device).fastest_precision() == ("bf16" if in_hardware else "float32")  # type: ignore[call-arg]
