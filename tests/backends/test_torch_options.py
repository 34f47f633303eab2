"""Options of a step in PyTorch beyond the contract: padded attacks, half precision, functions of plug-ins."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sat_core.attack_kinds import ATTACKS, AttackKind
from sat_core.attack_spec import AttackSpec
from sat_core.backend import Backend
from sat_core.errors import CheckpointError, SpecError
from sat_core.member_losses import LOSSES, Loss
from sat_core.reference import NumpyBackend
from sat_core.testing import samples
from sat_core.testing.options import Option

pytestmark = pytest.mark.torch

NOISE = {"random_start": True}
TRADES = {"kind": "trades", "beta": (12.0, 6.0)}
MANY = {"averaging": "ema:0.9", "clip_norm": 0.5}


def trained(
    backend: Backend, option: Option, epochs: int = 2, padded: bool = False, **training: Any
) -> dict[str, np.ndarray]:
    """Return what a short training leaves behind."""
    classifier = samples.build(backend, "small-cnn")
    trainer, plans = option.trainer(backend, classifier, **training)
    if padded:
        trainer._padded = True  # type: ignore[attr-defined]
    losses = samples.train(trainer, plans[:epochs])
    return classifier.state() | {"losses": losses, "logits": trainer.logits()}


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize(
    "option",
    [
        Option(
            {**MANY, "mixing": "cutmix:1.0", "batch_size": 40},
            {**NOISE, "loss": "kl", "restarts": 2, "warmup": 1.5},
            {"label_smoothing": 0.1},
            online="hardest",
        ),
        # two parts of 20 images, of which 8 or 9 members and up to one more are attacked
        Option({"micro_batches": 2, "batch_size": 40, "awp": 0.02}, {"loss": "dlr"}, {"kind": "test-doubled"}),
        Option({**MANY, "batch_size": 40}, {"kind": "free", "steps": 1, "replays": 2}, {"kind": "test-doubled"}),
    ],
)
def test_images_that_are_attacked_in_vain_change_nothing(backend: Backend, option: Option) -> None:
    """They are none of A, and have the loss of B."""
    padded, expected = (trained(backend, option, padded=on) for on in (True, False))
    for name, value in expected.items():
        np.testing.assert_allclose(padded[name], value, rtol=1e-6, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize(
    "option",
    [
        Option({**MANY, "awp": 0.02, "micro_batches": 2}, {**NOISE, "loss": "kl"}, TRADES),
        Option(attack={"kind": "free", "norm": "Linf", "eps": 0.1, "steps": 1, "step_size": 0.1, "replays": 2}),
    ],
)
def test_options_are_the_same_training_in_half_precision(backend: Backend, option: Option, precision: str) -> None:
    half, expected = (trained(backend, option, 1, precision=name) for name in (precision, "float32"))
    assert all(np.isfinite(value).all() for value in half.values())
    np.testing.assert_allclose(half["losses"], expected["losses"], rtol=0.1)
    moved = samples.build(backend, "small-cnn").state()["conv1.weight"] - expected["conv1.weight"]
    assert np.linalg.norm(half["conv1.weight"] - expected["conv1.weight"]) < 0.5 * np.linalg.norm(moved)


def test_a_gradient_that_overflows_spoils_neither_weights_nor_statistics_nor_perturbations(backend: Backend) -> None:
    """In float16 such a step is left out: what AWP adds is taken away again, and δ stays finite."""
    for option in (
        Option({"awp": 0.02, "clip_norm": 0.3, "averaging": "ema:0.5"}, NOISE, TRADES),
        Option(attack={"kind": "free", "steps": 1, "replays": 2}),
    ):
        classifier = samples.build(backend, "small-cnn")
        trainer, plans = option.trainer(backend, classifier, precision="fp16")
        state = trainer.state()
        trainer.load_state({**state, "scaler.scale": np.float32(2.0**60)})
        before = classifier.state()
        trainer.begin(plans[0])
        trainer.step(0)
        after = classifier.state()
        assert all(np.isfinite(value).all() for value in (after | trainer.state()).values())
        np.testing.assert_array_equal(after["conv1.weight"], before["conv1.weight"])
        assert trainer.state()["scaler.scale"] < 2.0**60


def test_an_average_in_half_precision_is_kept_in_float32(backend: Backend) -> None:
    """Its steps are smaller than the last bit of the weights; counters are no part of it."""
    import torch

    from sat_torch.averaging import Average

    layer = torch.nn.BatchNorm1d(2).to(torch.bfloat16)
    average = Average(layer.state_dict())
    with torch.no_grad():
        layer.weight.fill_(2.0)
    for _ in range(10):
        average.update(0.999)
    assert average.state().keys() == {f"average.{n}" for n in ("weight", "bias", "running_mean", "running_var")}
    np.testing.assert_allclose(average.state()["average.weight"], 2 - 0.999**10, rtol=1e-6)
    with average.inside():
        assert layer.weight.tolist() == [1.0078125, 1.0078125]
    assert layer.weight.tolist() == [2.0, 2.0]
    with pytest.raises(CheckpointError, match=r"average\.bias"):
        average.load_state({name: v for name, v in average.state().items() if name != "average.bias"})


def one_step(gradient: Any, images: Any, labels: Any, attack: AttackSpec, start: Any) -> Any:
    """FGSM, as a package of others would write it."""
    x = images if start is None else (images + start).clamp(0, 1)
    losses, slope = gradient(x)
    assert losses.shape == labels.shape[:1]
    return (images + (x + attack.step_size * slope.sign() - images).clamp(-attack.eps, attack.eps)).clamp(0, 1)


class Doubled(Loss):
    """The cross-entropy twice, as a function for each backend."""

    name = "test-doubled"

    def __init__(self) -> None:
        self.functions = {"torch": _doubled, "numpy": _numpy_doubled}


def _doubled(adversarial: Any, clean: Any, targets: Any, beta: Any) -> Any:
    import torch

    return 2 * torch.nn.functional.cross_entropy(adversarial, targets, reduction="none")


def _numpy_doubled(adversarial: Any, clean: Any, targets: Any, beta: Any) -> tuple[np.ndarray, ...]:
    from sat_core.reference import loss_and_gradient

    losses, gradient = loss_and_gradient(adversarial, targets)
    return 2 * losses, 2 * gradient, np.zeros_like(gradient)


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attack and a loss of others, for the time of a test."""
    for registry in (ATTACKS, LOSSES):
        monkeypatch.setattr(registry, "_entries", {**registry._entries})  # type: ignore[attr-defined]
    kind = AttackKind(name="test-step", single=True, random_start=True, functions={"torch": one_step})
    ATTACKS.register(kind.name, kind)
    ATTACKS.register("test-none", AttackKind(name="test-none", steps=1, functions={"other": one_step}))
    LOSSES.register(Doubled.name, Doubled())


@pytest.mark.usefixtures("plugin")
def test_attacks_and_losses_of_plugins_are_called(backend: Backend) -> None:
    same = {"norm": "Linf", "eps": 0.1, "step_size": 0.1, "steps": 1, **NOISE, "restarts": 2}
    own, ours = (trained(backend, Option(attack={**same, "kind": kind}), 1) for kind in ("test-step", "pgd"))
    for name, value in ours.items():
        np.testing.assert_allclose(own[name], value, rtol=1e-6, atol=1e-7, err_msg=name)
    of_plugin, expected = (
        trained(made_by, Option(loss={"kind": Doubled.name}), 1) for made_by in (backend, NumpyBackend())
    )
    for name, value in expected.items():
        np.testing.assert_allclose(of_plugin[name], value, rtol=1e-6, atol=1e-7, err_msg=name)
    data, classifier = samples.examples(3), samples.build(backend, "small-cnn")
    with pytest.raises(SpecError, match="attack 'test-none': has no function for the backend 'torch'"):
        classifier.perturb(data.images, data.labels, AttackSpec(kind="test-none"))
