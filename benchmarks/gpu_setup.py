"""What the sections of `gpu.py` share: sizes, random images, networks, and training as the library does it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import attrs
import numpy as np
import torch

from sat_core.autoattack import LEVELS, AttackSettings
from sat_core.backend import Backend
from sat_core.classifier import Classifier
from sat_core.data import Examples


@dataclass(frozen=True)
class Size:
    """How much is measured, in earnest or in a smoke round.

    Args:
        small: The network of the goals, on images of `side` pixels.
        wide: The network of the recipe, on the same images.
        large: A network for photographs of `large_side` pixels.
        part: Images of an epoch that is timed.
        recipe: The same for the recipe.
        batch: Images in a batch; `large_batch` of the large network.
        epochs: Epochs that are timed, after one that is not.
        matrix: Side of the matrices whose product gives the matrix rate.
        reference: Batch size, batches and steps of PGD of the training that is compared with float64.
        checks: How many checks of the contract run; None for all.
        attacked: Numbers of images that AutoAttack gets, the cheap one first.
        turn: Steps of a peer before the next has its turn.
        budget: Iterations and queries of each of AutoAttack's attacks; None for its own.
    """

    small: str = "resnet18"
    wide: str = "wide-preact-resnet18"
    large: str = "resnet50"
    side: int = 32
    large_side: int = 224
    part: int = 6_400
    recipe: int = 12_800
    large_part: int = 1_024
    batch: int = 128
    large_batch: int = 64
    epochs: int = 3
    matrix: int = 8_192
    reference: tuple[int, int, int] = (8, 20, 2)
    checks: int | None = None
    attacked: tuple[int, ...] = (128, 1_000)
    turn: int = 10
    budget: int | None = None


SMOKE = Size(
    small="small-cnn",
    wide="small-cnn",
    large="small-cnn",
    side=8,
    large_side=16,
    part=24,
    recipe=16,
    large_part=8,
    batch=8,
    large_batch=4,
    epochs=1,
    matrix=128,
    checks=3,
    attacked=(8, 12),
    turn=2,
    budget=5,
)
ON_CPU = Size(batch=64, turn=1, matrix=1_024)
"""For the goals that are about CPUs."""


@dataclass(frozen=True)
class Bench:
    """What is measured on: a backend, and how much."""

    backend: Backend
    size: Size

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.backend.device != "cpu"

    @property
    def device(self) -> torch.device:
        """The device, as PyTorch has it."""
        return torch.device(self.backend.device)

    def wait(self) -> None:
        """Wait for the device: CUDA calls return before their work is done."""
        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    def seconds(self, call: Callable[[], Any]) -> float:
        """Return the seconds that a call takes, with all that it starts on the device."""
        self.wait()
        start = time.perf_counter()
        call()
        self.wait()
        return time.perf_counter() - start

    def build(self, model: str, data: Examples) -> Classifier:
        """Build a network that normalises its input, as in a study."""
        return build(self.backend, model, data)

    def free_memory(self) -> None:
        """Drop compiled graphs and cached memory of the measurement before."""
        torch.compiler.reset()
        if self.on_gpu:
            torch.cuda.empty_cache()


def build(backend: Backend, model: str, data: Examples) -> Classifier:
    """Build a network for ten classes; its weights are the same in every backend and on every device."""
    h, w, c = data.images.shape[1:]
    return backend.build(model, classes=10, image_shape=(h, w, c), mean=(0.5,) * c, std=(0.25,) * c)


def attack_settings(budget: int) -> tuple[AttackSettings, ...]:
    """Return AutoAttack's standard attacks with few iterations and queries, and two target classes."""
    return tuple(
        attrs.evolve(attack, queries=budget)
        if attack.queries
        else attrs.evolve(attack, iterations=budget, target_classes=attack.target_classes and 2)
        for attack in LEVELS["standard"]
    )


def random_examples(n: int, side: int) -> Examples:
    """Make random images `(n, side, side, 3)` with random labels."""
    rng = np.random.default_rng(0)
    return Examples(rng.integers(0, 256, (n, side, side, 3), np.uint8), rng.integers(0, 10, n), classes=10)


def learnable_examples(n: int, side: int) -> Examples:
    """Make images of ten smooth patterns under noise: a network learns them, and an attack breaks some of them."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, n)
    coarse = rng.normal(size=(10, 4, 4, 3)).repeat(side // 4, axis=1).repeat(side // 4, axis=2)
    strength = rng.uniform(4, 24, (n, 1, 1, 1))
    images = 128 + strength * coarse[labels] + rng.normal(scale=32, size=(n, side, side, 3))
    return Examples(images.clip(0, 255).astype(np.uint8), labels, classes=10)
