"""Options of a step in TensorFlow beyond the contract: few graphs, XLA, half precision, functions of plug-ins."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from sat_core.attack_kinds import ATTACKS, AttackKind
from sat_core.attack_spec import AttackSpec
from sat_core.backend import Backend
from sat_core.errors import SpecError
from sat_core.member_losses import LOSSES, Loss
from sat_core.reference import NumpyBackend
from sat_core.testing import samples
from sat_core.testing.options import Option

pytestmark = pytest.mark.tensorflow

NOISE = {"random_start": True}
TRADES = {"kind": "trades", "beta": (12.0, 6.0)}
MANY = {"averaging": "ema:0.9", "clip_norm": 0.5}


def trained(backend: Backend, option: Option, epochs: int = 2, **training: Any) -> tuple[Any, dict[str, np.ndarray]]:
    """Return the trainer of a short training, and what it leaves behind."""
    classifier = samples.build(backend, "small-cnn")
    trainer, plans = option.trainer(backend, classifier, **training)
    losses = samples.train(trainer, plans[:epochs])
    return trainer, classifier.state() | {"losses": losses, "logits": trainer.logits()}


@pytest.mark.parametrize(
    ("option", "graphs"),
    [
        (Option(MANY, NOISE, TRADES), 2),
        (Option({"awp": 0.02, "mixing": "mixup:0.8"}, {**NOISE, "restarts": 2}), 2),
        (Option({"micro_batches": 2}, {"loss": "margin", "warmup": 1.0}, online="hardest"), 2),
        (Option(attack={"kind": "free", "steps": 1, "replays": 2}), 1),
    ],
)
def test_graphs_are_made_once_whatever_the_members_are_and_however_strong_the_attack(
    backend: Backend, option: Option, graphs: int
) -> None:
    """One of the step, and one of the attack; the plans have batches of 3 and of 4 members, or parts of 1 and of 2."""
    trainer, _ = trained(backend, option)
    assert trainer.traces == graphs


@pytest.mark.parametrize(
    "option",
    [
        Option(MANY, {"kind": "free", "steps": 1, "step_size": 0.8, "replays": 2, "warmup": 1.5}),
        Option(
            {**MANY, "micro_batches": 2, "awp": 0.02},
            {**NOISE, "loss": "kl", "restarts": 2, "warmup": 1.5},
            {**TRADES, "label_smoothing": 0.1, "class_weights": "balanced"},
        ),
        Option(
            {**MANY, "mixing": "mixup:0.5", "awp": 0.02}, {**NOISE, "loss": "kl", "keep_best": True}, {"kind": "alp"}
        ),
    ],
)
def test_options_together_are_the_oracles(backend: Backend, option: Option) -> None:
    logs = []
    for made_by in (backend, NumpyBackend()):
        trainer, log = trained(made_by, option)
        logs.append(log | {k: v for k, v in trainer.state().items() if k.startswith(("average.", "attack."))})
    for name, expected in logs[1].items():
        np.testing.assert_allclose(logs[0][name], expected, rtol=1e-6, atol=1e-7, err_msg=name)


@pytest.mark.parametrize(
    "option",
    [
        Option(
            {**MANY, "mixing": "cutmix:1.0"},
            {**NOISE, "loss": "kl", "restarts": 2, "warmup": 1.5},
            {"label_smoothing": 0.1},
            online="hardest",
        ),
        Option(MANY, {"kind": "free", "steps": 1, "replays": 2}),
    ],
)
def test_xla_compiles_the_same_step(backend: Backend, option: Option) -> None:
    """It attacks more images than there are members, in vain."""
    (_, compiled), (_, expected) = (trained(backend, option, 1, compile=on) for on in (True, False))
    for name, value in expected.items():
        np.testing.assert_allclose(compiled[name], value, rtol=1e-6, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize(
    "option",
    [
        Option({**MANY, "awp": 0.02, "micro_batches": 2}, {**NOISE, "loss": "kl"}, TRADES),
        Option(attack={"kind": "free", "norm": "Linf", "eps": 0.1, "steps": 1, "step_size": 0.1, "replays": 2}),
    ],
)
def test_options_are_the_same_training_in_half_precision(backend: Backend, option: Option, precision: str) -> None:
    (_, half), (_, expected) = (trained(backend, option, 1, precision=name) for name in (precision, "float32"))
    assert all(np.isfinite(value).all() for value in half.values())
    np.testing.assert_allclose(half["losses"], expected["losses"], rtol=0.1)
    moved = samples.build(backend, "small-cnn").state()["conv1.weight"] - expected["conv1.weight"]
    assert np.linalg.norm(half["conv1.weight"] - expected["conv1.weight"]) < 0.5 * np.linalg.norm(moved)


def one_step(gradient: Any, images: Any, labels: Any, attack: AttackSpec, start: Any) -> Any:
    """FGSM, as a package of others would write it."""
    import tensorflow as tf

    x = images if start is None else tf.clip_by_value(images + start, 0, 1)
    losses, slope = gradient(x)
    assert losses.shape.rank == 1
    delta = tf.clip_by_value(x + attack.step_size * tf.sign(slope) - images, -attack.eps, attack.eps)
    return tf.clip_by_value(images + delta, 0, 1)


class Doubled(Loss):
    """The cross-entropy twice, as a function for each backend."""

    name = "test-doubled"
    functions = MappingProxyType(
        {
            "tensorflow": lambda adversarial, clean, targets, beta: _doubled(adversarial, targets),
            "numpy": lambda adversarial, clean, targets, beta: _numpy_doubled(adversarial, targets),
        }
    )


def _doubled(adversarial: Any, targets: Any) -> Any:
    import tensorflow as tf

    return 2 * tf.nn.softmax_cross_entropy_with_logits(targets, adversarial)


def _numpy_doubled(adversarial: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from sat_core.reference import loss_and_gradient

    losses, gradient = loss_and_gradient(adversarial, targets)
    return 2 * losses, 2 * gradient, np.zeros_like(gradient)


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attack and a loss of others, for the time of a test."""
    for registry in (ATTACKS, LOSSES):
        monkeypatch.setattr(registry, "_entries", {**registry._entries})  # type: ignore[attr-defined]
    kind = AttackKind(name="test-step", single=True, random_start=True, functions={"tensorflow": one_step})
    ATTACKS.register(kind.name, kind)
    ATTACKS.register("test-none", AttackKind(name="test-none", steps=1, functions={"other": one_step}))
    LOSSES.register(Doubled.name, Doubled())


@pytest.mark.usefixtures("plugin")
def test_attacks_and_losses_of_plugins_are_called_in_the_graph(backend: Backend) -> None:
    same = {"norm": "Linf", "eps": 0.1, "step_size": 0.1, "steps": 1, **NOISE, "restarts": 2}
    (_, own), (_, ours) = (trained(backend, Option(attack={**same, "kind": kind}), 1) for kind in ("test-step", "pgd"))
    for name, value in ours.items():
        np.testing.assert_allclose(own[name], value, rtol=1e-6, atol=1e-7, err_msg=name)
    (_, of_plugin), (_, expected) = (
        trained(made_by, Option(loss={"kind": Doubled.name}), 1) for made_by in (backend, NumpyBackend())
    )
    for name, value in expected.items():
        np.testing.assert_allclose(of_plugin[name], value, rtol=1e-6, atol=1e-7, err_msg=name)


@pytest.mark.usefixtures("plugin")
def test_what_an_attack_of_a_plugin_cannot_do_is_said(backend: Backend) -> None:
    data, classifier = samples.examples(3), samples.build(backend, "small-cnn")
    with pytest.raises(SpecError, match="attack 'test-none': has no function for the backend 'tensorflow'"):
        classifier.perturb(data.images, data.labels, AttackSpec(kind="test-none"))
    with pytest.raises(SpecError, match=r"attack\.warmup: expected 0 with attack\.kind = 'test-step'"):
        AttackSpec(kind="test-step", warmup=1.0)
