"""G10: a training step with PGD-7 against other packages, in one process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import peers
import pytest
import torch
from measure import keep_memory, record, timed

from sat_core.arrays import as_float
from sat_core.attack_spec import AttackSpec
from sat_core.backend import Backend, get_backend
from sat_core.batches import Planner
from sat_core.classifier import Classifier
from sat_core.data import Examples
from sat_core.datasets import get_dataset
from sat_core.reference.losses import loss_and_gradient
from sat_core.splits import Split
from sat_core.training_spec import TrainingSpec

CLOCK = time.perf_counter
ATTACKS = {
    "L2": AttackSpec(kind="pgd", norm="L2", eps=0.5, steps=7, step_size=0.1),
    "Linf": AttackSpec(kind="pgd", norm="Linf", eps=8 / 255, steps=7, step_size=2 / 255),
}
OURS, CHANNELS_LAST, TENSORFLOW, ART_TENSORFLOW = "ours", "ours, channels_last", "TensorFlow", "ART TensorFlow"
SAME, SAME_RISE = 0.01, 0.05
"""Largest relative differences of the losses that two attacks reach, and of their rises above the clean loss."""

pytestmark = [
    pytest.mark.benchmark(timer=CLOCK),
    pytest.mark.filterwarnings("default"),  # the peers use what NumPy and SciPy are giving up
]


def examples(model: str, batch: int) -> Examples:
    """Return one batch: digits for the small CNN, noise for a ResNet-18."""
    if model == "small-cnn":
        return get_dataset("digits").train.take(np.arange(batch))
    rng = np.random.default_rng(0)
    return Examples(rng.integers(0, 256, (batch, 32, 32, 3), np.uint8), rng.integers(0, 10, batch), classes=10)


class Runners:
    """The training steps of all packages on one batch, each with its own network, from the same initial weights."""

    def __init__(self, model: str, batch: int, norm: str, threads: int) -> None:
        self._model, self._attack, self._data = model, ATTACKS[norm], examples(model, batch)
        self._training = TrainingSpec(epochs=1, batch_size=batch, lr=0.01, schedule="constant", threads=threads)
        self._images, self._labels = as_float(self._data.images), self._data.labels
        self.steps: dict[str, Callable[[], float]] = {}
        self.reached: dict[str, float] = {}
        """Losses of the adversarial examples for the initial weights, in evaluation mode."""

    def add_ours(self, name: str, backend: Backend, **switches: Any) -> None:
        """Add our trainer, with real plans and everything in A."""
        classifier, training = self._build(backend), attrs.evolve(self._training, **switches)
        split = Split(
            kind="examples",
            strategy="random",
            members=np.ones(len(self._labels), bool),
            classes=None,
            weights=(1.0, 1.0),
        )
        plan = Planner(split, training, self._attack, classifier.image_shape).epoch(0)
        trainer = backend.trainer(classifier, self._data, training, self._attack)
        adversarial = classifier.perturb(self._images, self._labels, self._attack)
        self._add(name, classifier, adversarial, lambda: float(trainer.run(plan)[0]))

    def add_peers(self) -> None:
        """Add all peers on PyTorch."""
        x, y = torch.from_numpy(self._images.transpose(0, 3, 1, 2).copy()), torch.from_numpy(self._labels)
        for name, make in peers.PEERS.items():
            classifier = self._build(get_backend("torch"))
            peer = make(classifier.module, self._task(x.shape))  # type: ignore[attr-defined]
            adversarial = peer.perturb(x, y).detach().numpy().transpose(0, 2, 3, 1)
            self._add(name, classifier, adversarial, lambda peer=peer: peer.step(x, y))

    def add_art_tensorflow(self, backend: Backend) -> None:
        """Add the one peer that trains Keras models."""
        classifier = self._build(backend)
        peer = peers.art_tensorflow(classifier.native, self._task(self._images.shape))
        adversarial = peer.perturb(self._images, self._labels)
        self._add(ART_TENSORFLOW, classifier, adversarial, lambda: peer.step(self._images, self._labels))

    def _task(self, shape: tuple[int, ...]) -> peers.Task:
        return peers.Task(self._attack, self._training, tuple(shape[1:]))

    def _build(self, backend: Backend) -> Classifier:
        return backend.build(self._model, classes=10, image_shape=self._images.shape[1:])

    def _add(self, name: str, classifier: Classifier, adversarial: np.ndarray, step: Callable[[], float]) -> None:
        self.reached[name] = self._loss(classifier, adversarial)
        self.steps[name] = step

    def clean_loss(self) -> float:
        """Return the loss that an attack would reach which does nothing."""
        return self._loss(self._build(get_backend("torch")), self._images)

    def _loss(self, classifier: Classifier, images: np.ndarray) -> float:
        return float(loss_and_gradient(classifier.logits(images), self._labels)[0].mean())


def check_same_work(runners: Runners, first_losses: dict[str, float]) -> None:
    """Check that nobody is fast by attacking less: attacks and timed steps all reach the same loss."""
    ours, clean = runners.reached[OURS], runners.clean_loss()
    assert ours > clean
    for name, reached in runners.reached.items():
        assert reached == pytest.approx(ours, rel=SAME), name
        assert reached - clean == pytest.approx(ours - clean, rel=SAME_RISE), name
    for name, loss in first_losses.items():
        if np.isfinite(loss):
            assert loss == pytest.approx(first_losses[OURS], rel=SAME), name


def measure(benchmark: Any, runners: Runners, rounds: int) -> dict[str, np.ndarray]:
    """Time all steps in turn; return the seconds of each round. A first round is not counted, and its losses are
    checked.
    """
    first = {name: step() for name, step in runners.steps.items()}
    check_same_work(runners, first)
    seconds: dict[str, list[float]] = {name: [] for name in runners.steps if name != OURS}

    def others() -> None:
        for name, values in seconds.items():
            values.append(timed(runners.steps[name], CLOCK))

    benchmark.pedantic(runners.steps[OURS], setup=others, rounds=rounds, iterations=1)
    if benchmark.disabled:
        return {}
    return {name: np.array(values) for name, values in seconds.items()} | {OURS: np.array(benchmark.stats.stats.data)}


def report(benchmark: Any, case: str, seconds: dict[str, np.ndarray]) -> None:
    """Record the fastest peer against both of our backends and, for the L2 norm, every peer."""
    if not seconds:
        return
    fastest = min(peers.PEERS, key=lambda name: np.median(seconds[name]))

    def row(name: str, subject: str, reference: str, note: str = "") -> None:
        record(benchmark, name, seconds[subject] / seconds[reference], note, float(np.median(seconds[subject])))

    row(f"peers-{case}", fastest, OURS, fastest)
    if TENSORFLOW not in seconds:
        return
    row(f"peers-{case}-{TENSORFLOW}", fastest, TENSORFLOW, fastest)
    if ART_TENSORFLOW in seconds:
        row(f"peers-{case}-{ART_TENSORFLOW}", ART_TENSORFLOW, TENSORFLOW)
    for name in (*peers.PEERS, CHANNELS_LAST):
        row(f"peers-{case}-{name}", name, OURS)


@pytest.mark.parametrize(("model", "batch", "rounds"), [("resnet18", 64, 3), ("small-cnn", 64, 50)])
def test_l2(benchmark: Any, model: str, batch: int, rounds: int) -> None:
    """Both backends and everyone."""
    smoke = benchmark.disabled
    threads = (
        1 if smoke else 2
    )  # TensorFlow's number cannot be changed, and a smoke round runs everything in one process
    keep_memory()
    tensorflow, ours = get_backend("tensorflow"), get_backend("torch")
    spec = TrainingSpec(epochs=1, threads=threads)
    with tensorflow.session(spec), ours.session(spec):
        runners = Runners("small-cnn" if smoke else model, 8 if smoke else batch, "L2", threads)
        runners.add_ours(TENSORFLOW, tensorflow)
        runners.add_ours(OURS, ours)
        runners.add_ours(CHANNELS_LAST, ours, channels_last=True)
        runners.add_peers()
        if model == "resnet18":
            runners.add_art_tensorflow(tensorflow)  # it runs eagerly: a step of the small CNN takes a second
        report(benchmark, model, measure(benchmark, runners, rounds))


@pytest.mark.parametrize(("model", "batch", "rounds"), [("resnet18", 16, 5), ("small-cnn", 64, 30)])
def test_linf(benchmark: Any, model: str, batch: int, rounds: int) -> None:
    """The same in the other norm, for information, on PyTorch."""
    smoke = benchmark.disabled
    threads = 1 if smoke else 2
    keep_memory()
    ours = get_backend("torch")
    with ours.session(TrainingSpec(epochs=1, threads=threads)):
        runners = Runners("small-cnn" if smoke else model, 8 if smoke else batch, "Linf", threads)
        runners.add_ours(OURS, ours)
        runners.add_peers()
        report(benchmark, f"{model}-Linf", measure(benchmark, runners, rounds))
