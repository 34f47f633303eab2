"""G5 and G6: TensorFlow against PyTorch at the same work, in one process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from measure import compare, keep_memory, record

from sat_core.attack_spec import AttackSpec
from sat_core.autoattack import AttackSettings
from sat_core.backend import Backend, get_backend
from sat_core.batches import Planner
from sat_core.data import Examples
from sat_core.splits import Split
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
