"""Training as the library does it: a trainer, the plans of its epochs, and what a step costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import attrs
import numpy as np
import torch
from gpu_setup import Bench

from sat_core.attack_spec import AttackSpec
from sat_core.backend import Backend
from sat_core.batches import Planner
from sat_core.classifier import Classifier
from sat_core.data import Examples
from sat_core.splits import Split
from sat_core.trainer import Trainer
from sat_core.training_spec import TrainingSpec

PGD7 = AttackSpec(kind="pgd", norm="L2", eps=0.5, steps=7, step_size=0.1)
SHARES = (0.0, 0.1, 0.3, 0.5, 1.0)


def settings(bench: Bench, **changes: Any) -> TrainingSpec:
    """Return settings of a training on this device: channels_last on a GPU, all threads on a CPU."""
    threads = torch.get_num_threads()
    common = {"epochs": 1, "batch_size": bench.size.batch, "lr": 0.01, "schedule": "constant", "threads": threads}
    return TrainingSpec(**{**common, "channels_last": bench.on_gpu, **changes})


@dataclass(frozen=True)
class Training:
    """A trainer and the plans of its epochs."""

    trainer: Trainer
    planner: Planner

    def epoch(self, number: int, after_step: Callable[[], None] = lambda: None) -> np.ndarray:
        """Make all steps of an epoch (from 0) and return their losses, read from the device after the last step."""
        plan = self.planner.epoch(number)
        self.trainer.begin(plan)
        for step in range(plan.steps):
            self.trainer.step(step)
            after_step()
        return self.trainer.losses(0, plan.steps)


@contextmanager
def training(
    backend: Backend, classifier: Classifier, data: Examples, spec: TrainingSpec, share: float, attack: AttackSpec
) -> Iterator[Training]:
    """Train `classifier` on `data` with a share of the examples in A, drawn at random, in a session of the backend."""
    members = np.random.default_rng(1).permutation(len(data)) < round(share * len(data))
    split = Split(kind="examples", strategy="random", members=members, classes=None, weights=(1.0, 1.0))
    h, w, c = data.images.shape[1:]
    with backend.session(spec):
        yield Training(backend.trainer(classifier, data, spec, attack), Planner(split, spec, attack, (h, w, c)))


def seconds_per_image(
    bench: Bench, model: str, data: Examples, spec: TrainingSpec, share: float, attack: AttackSpec = PGD7
) -> float:
    """Time whole epochs with real plans and the real trainer; the median. A first epoch is not counted."""
    bench.free_memory()
    spec = attrs.evolve(spec, epochs=bench.size.epochs + 1)
    with training(bench.backend, bench.build(model, data), data, spec, share, attack) as run:
        seconds = [bench.seconds(lambda epoch=epoch: run.epoch(epoch)) for epoch in range(spec.epochs)]  # type: ignore[misc]
    images = run.planner.steps_per_epoch * spec.batch_size  # the last incomplete batch is dropped
    return float(np.median(seconds[1:])) / images


def multiplications(classifier: Classifier, side: int) -> int:
    """Count the multiply-adds of one image's forward pass in convolutions and linear layers."""
    counts: list[int] = []

    def count(layer: torch.nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        counts.append(output.numel() * layer.weight[0].numel())  # type: ignore[operator, index]

    kinds = (torch.nn.Conv2d, torch.nn.Linear)
    hooks = [layer.register_forward_hook(count) for layer in classifier.native.modules() if isinstance(layer, kinds)]
    classifier.logits(np.zeros((1, side, side, 3), np.float32))
    for hook in hooks:
        hook.remove()
    return sum(counts)


def operations(forward: int, share: float, steps: int = PGD7.steps) -> float:
    """Floating-point operations of a training step per image, on average, where a forward has `forward` multiply-adds.

    A training step is 3 forwards (forward, gradients of activations and of weights); each step of the attack is 2, for
    the members of A: it needs no gradients of weights.
    """
    return 2 * forward * (3 + 2 * steps * share)
