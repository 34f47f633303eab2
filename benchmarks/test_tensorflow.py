"""G5 and G6: TensorFlow against PyTorch at the same work, in one process; G24: options of a step against bare loops."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import pytest
from measure import compare, keep_memory, record

from sat_core.attack_spec import AttackSpec
from sat_core.autoattack import AttackSettings
from sat_core.backend import Backend, get_backend
from sat_core.batches import Planner
from sat_core.data import Examples
from sat_core.loss_spec import LossSpec
from sat_core.splits import Split
from sat_core.testing.options import Option
from sat_core.training_spec import TrainingSpec

CLOCK = time.process_time
ATTACK = AttackSpec(kind="pgd", norm="L2", eps=0.5, steps=7, step_size=0.1)
SHAPES = {"resnet18": (32, 32, 3), "small-cnn": (8, 8, 1)}

pytestmark = pytest.mark.benchmark(timer=CLOCK)


@pytest.fixture(scope="module")
def both() -> tuple[Backend, Backend]:
    """TensorFlow and PyTorch, each with one thread. TensorFlow comes first: our backend imports PyTorch before it."""
    keep_memory()
    backends = get_backend("tensorflow"), get_backend("torch")
    for backend in backends:
        backend.session(TrainingSpec(epochs=1, threads=1)).__enter__()
    return backends


def images(model: str, n: int) -> Examples:
    rng = np.random.default_rng(0)
    return Examples(rng.integers(0, 256, (n, *SHAPES[model]), np.uint8), rng.integers(0, 10, n), classes=10)


def build(backend: Backend, model: str) -> Any:
    channels = SHAPES[model][2]
    options = {"classes": 10, "image_shape": SHAPES[model], "mean": (0.5,) * channels, "std": (0.25,) * channels}
    return backend.build(model, **options)  # type: ignore[arg-type]


def step(backend: Backend, model: str, batch: int) -> Callable[[], float]:
    """Return a function that does one training step with everything in A and returns its loss."""
    data, training = images(model, batch), TrainingSpec(epochs=1, batch_size=batch, lr=0.01, schedule="constant")
    members = np.ones(batch, bool)
    split = Split(kind="examples", strategy="random", members=members, classes=None, weights=(1.0, 1.0))
    plan = Planner(split, training, ATTACK, SHAPES[model]).epoch(0)
    trainer = backend.trainer(build(backend, model), data, training, ATTACK)
    return lambda: float(trainer.run(plan)[0])


def autoattack(backend: Backend, model: str, name: str, n: int) -> Callable[[], np.ndarray]:
    """Return a function that runs one of AutoAttack's attacks on the torch module, with ten iterations."""
    from sat_evaluation.attack.model import Model, seeded
    from sat_evaluation.attack.package import find_package

    module, data = Model(build(backend, model)), images(model, n)
    settings = AttackSettings(name=name, iterations=10, target_classes=2 if name.endswith("-t") else None)
    perturb = find_package().attack(settings, module, norm="L2", eps=0.5, seed=0, device=module.device)
    labels = build(backend, model).logits(data.images).argmax(axis=1)  # nothing is broken before it is attacked
    x, y = module.tensors(data.float_images(), labels)

    def once() -> np.ndarray:
        with seeded(0):
            return perturb(x, y).numpy()

    return once


@pytest.mark.parametrize(("model", "batch"), [("resnet18", 16), ("small-cnn", 64)])
def test_training_step(benchmark: Any, both: tuple[Backend, Backend], model: str, batch: int) -> None:
    """PGD-7 on every image, then the step."""
    smoke = benchmark.disabled
    ours, reference = (step(backend, "small-cnn" if smoke else model, 8 if smoke else batch) for backend in both)
    assert ours() == pytest.approx(reference(), rel=1e-3)
    rounds = 10 if model == "resnet18" else 50
    record(benchmark, f"tensorflow-step-{model}", compare(benchmark, ours, reference, rounds, CLOCK))


@pytest.mark.parametrize(("model", "n"), [("resnet18", 8), ("small-cnn", 64)])
@pytest.mark.parametrize("name", ["apgd-ce", "fab-t"])
def test_autoattack(benchmark: Any, both: tuple[Backend, Backend], name: str, model: str, n: int) -> None:
    """Through `Classifier.as_torch_module`."""
    smoke = benchmark.disabled
    ours, reference = (
        autoattack(backend, "small-cnn" if smoke else model, name, 4 if smoke else n) for backend in both
    )
    assert ours().shape == reference().shape
    rounds = 8 if model == "resnet18" else 30
    record(benchmark, f"tensorflow-{name}-{model}", compare(benchmark, ours, reference, rounds, CLOCK))


OPTIONS: dict[str, Option] = {
    "plain": Option(),
    "TRADES": Option(attack={"loss": "kl"}, loss={"kind": "trades"}),
    "label smoothing": Option(loss={"label_smoothing": 0.1}),
    "N-FGSM": Option(attack={"kind": "n-fgsm", "steps": 1, "step_size": 0.5}),
    "restarts": Option(attack={"random_start": True, "restarts": 2}),
    "Free-AT": Option(attack={"kind": "free", "steps": 1, "step_size": 0.5, "replays": 4}),
    "EMA": Option({"averaging": "ema:0.9"}),
    "clipping": Option({"clip_norm": 0.5}),
    "micro-batches": Option({"micro_batches": 2}),
    "mixup": Option({"mixing": "mixup:1.0"}),
    "AWP": Option({"awp": 0.01}),
    "hardest": Option(online="hardest"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options(benchmark: Any, both: tuple[Backend, Backend], name: str) -> None:
    """PGD-7, or the attack of the option, on half of the images of small-cnn, then the step."""
    import tensorflow as tf
    from bare_tensorflow import bare_step

    option, backend = OPTIONS[name], both[0]
    n, shape = (8, (8, 8, 3)) if benchmark.disabled else (64, (32, 32, 3))
    rng, inputs = (
        np.random.default_rng(0),
        {"classes": 10, "image_shape": shape, "mean": (0.5,) * 3, "std": (0.25,) * 3},
    )
    data = Examples(rng.integers(0, 256, (n, *shape), np.uint8), rng.integers(0, 10, n), classes=10)
    loss = LossSpec(**option.loss)
    training = TrainingSpec(epochs=1, batch_size=n, lr=0.01, schedule="constant", **option.training)
    attack = AttackSpec(**{"eps": 0.5, "steps": 7, "step_size": 0.1, **option.attack})
    split = Split(kind="examples", strategy="random", members=np.arange(n) < n // 2, classes=None, weights=(1.0, 1.0))
    plan = attrs.evolve(Planner(split, training, attack, shape, "", loss).epoch(0), online=option.online)
    trainer = backend.trainer(backend.build("small-cnn", **inputs), data, training, attack, None, loss)
    trainer.begin(plan)
    model = tf.keras.Sequential([tf.keras.layers.Rescaling(4.0, -2.0), backend.build("small-cnn", **inputs).native])
    model.build((None, *shape))
    batch = tf.constant(data.float_images()), tf.constant(data.labels)
    bare = bare_step(name, model, *batch, n // 2, training.micro_batches, attack.replays)

    def ours() -> float:
        trainer.step(0)
        return float(trainer.losses(0, 1)[0])

    assert np.isfinite([ours(), bare()]).all()
    record(benchmark, f"tensorflow-option-{name}", compare(benchmark, ours, bare, 15, CLOCK))
