"""Measure training and AutoAttack on a GPU and print Markdown tables: python benchmarks/gpu.py [--device cuda:0]

It needs the package with its extras `torch` and `autoattack` and no data: images are random, in the number and size of
CIFAR-10's. It takes half an hour on a current data-centre GPU. `--smoke` runs the same code on a CPU with tiny numbers.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sat_core.backend import Backend, get_backend
from sat_core.batches import Planner
from sat_core.classifier import Classifier
from sat_core.data import Examples
from sat_core.sections import AttackSpec, TrainingSpec
from sat_core.splits import Split

SHARES = (0.0, 0.1, 0.3, 0.5, 1.0)
STEPS = 7
RECIPE_EPOCHS = 201
GOAL_MINUTES = {1.0: 35, 0.5: 20}
"""Goals for the whole recipe of the wide network on one current data-centre GPU, by the share of A.
"""
GOAL_UTILISATION = 0.4
SWITCHES: dict[str, dict[str, Any]] = {
    "float32": {},
    "bf16": {"precision": "bf16"},
    "bf16, compile, channels_last": {"precision": "bf16", "compile": True, "channels_last": True},
}


@dataclass(frozen=True)
class Size:
    """How much is measured, in earnest or in a smoke round."""

    cifar: tuple[str, ...] = ("resnet18", "wide-preact-resnet18")
    large: str = "resnet50"
    sides: tuple[int, int] = (32, 224)
    epoch: int = 50_000
    part: int = 6_400
    batch: int = 128
    large_part: int = 1_024
    large_batch: int = 64
    epochs: int = 3
    matrix: int = 8_192
    attacked: int = 128
    attacks: str | tuple[str, ...] = "standard"
    compile: bool = True


SMOKE = Size(
    cifar=("small-cnn",),
    large="small-cnn",
    sides=(8, 16),
    epoch=32,
    part=16,
    batch=8,
    large_part=8,
    large_batch=4,
    matrix=128,
    attacked=2,
    attacks=("apgd-ce",),
    compile=False,  # takes a minute on a CPU
)


def wait(backend: Backend) -> None:
    """Wait for the device: CUDA calls return before their work is done."""
    if backend.device != "cpu":
        torch.cuda.synchronize(torch.device(backend.device))


def random_examples(n: int, side: int) -> Examples:
    """Make random images `(n, side, side, 3)` with random labels."""
    rng = np.random.default_rng(0)
    return Examples(rng.integers(0, 256, (n, side, side, 3), np.uint8), rng.integers(0, 10, n), classes=10)


def build(backend: Backend, model: str, data: Examples) -> Classifier:
    """Build a network that normalises its input, as in a study."""
    shape = tuple(data.images.shape[1:])
    return backend.build(model, classes=10, image_shape=shape, mean=(0.5,) * 3, std=(0.25,) * 3)  # type: ignore[arg-type]


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


def operations(forward: int, share: float) -> float:
    """Floating-point operations of a training step per image, on average, where a forward has `forward` multiply-adds.

    A training step is 3 forwards (forward, gradients of activations and of weights); each step of the attack is 2, for
    the members of A: it needs no gradients of weights.
    """
    return 2 * forward * (3 + 2 * STEPS * share)


def matrix_rate(backend: Backend, side: int) -> float:
    """Return the operations per second of a large bf16 matrix product: the best of twelve rounds of ten."""
    device = torch.device(backend.device)
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    best = float("inf")
    for _ in range(12):
        wait(backend)
        start = time.perf_counter()
        for _ in range(10):
            a @ b
        wait(backend)
        best = min(best, (time.perf_counter() - start) / 10)
    return 2 * side**3 / best


def seconds_per_epoch(
    backend: Backend, model: str, data: Examples, batch: int, share: float, epochs: int, switches: dict[str, Any]
) -> list[float]:
    """Time whole epochs with real plans and the real trainer, data on the device; a first epoch is not counted."""
    imagenet = data.images.shape[1] > 32
    attack = AttackSpec(norm="L2", eps=3.0 if imagenet else 0.5, steps=STEPS, step_size=0.5 if imagenet else 0.1)
    training = TrainingSpec(
        epochs=epochs + 1,
        batch_size=batch,
        lr=0.01,
        schedule="constant",
        augmentation="none" if imagenet else "cifar",
        **switches,
    )
    members = np.random.default_rng(1).permutation(len(data)) < round(share * len(data))
    split = Split(kind="examples", strategy="random", members=members, classes=None, weights=(1.0, 1.0))
    planner = Planner(split, training, attack, tuple(data.images.shape[1:]))  # type: ignore[arg-type]
    seconds = []
    with backend.session(training):
        trainer = backend.trainer(build(backend, model, data), data, training, attack)
        for epoch in range(epochs + 1):
            wait(backend)
            start = time.perf_counter()
            trainer.run(planner.epoch(epoch), lambda _plan, _result: None)
            wait(backend)
            # The last incomplete batch is dropped: scale to all images.
            seconds.append((time.perf_counter() - start) * len(data) / (planner.steps_per_epoch * batch))
    return seconds[1:]


def attacked_per_second(
    backend: Backend, model: str, data: Examples, attacks: str | tuple[str, ...]
) -> tuple[float, float]:
    """Return the images per second of AutoAttack, and the share of images that it leaves unbroken.

    The labels are the network's own predictions and the ball is tiny, so that every image goes through every attack:
    the most expensive case.
    """
    classifier = build(backend, model, data)
    labels = classifier.logits(data.images).argmax(axis=1)
    start = time.perf_counter()
    evaluation = backend.evaluate(classifier, data.images, labels, norm="L2", eps=1e-5, attacks=attacks)
    return len(data) / (time.perf_counter() - start), float(evaluation.robust.mean())


def switches_of(size: Size) -> dict[str, dict[str, Any]]:
    """Return `SWITCHES`, in a smoke round without compilation."""
    return {
        name: {key: value for key, value in switches.items() if key != "compile" or size.compile}
        for name, switches in SWITCHES.items()
    }


def rates(backend: Backend, size: Size, rate: float) -> Iterator[tuple[str, ...]]:
    """Yield a row for each network, precision and share."""
    plan: list[tuple[str, Callable[[], Examples], int, int]] = [
        *(
            (model, lambda: random_examples(size.part, size.sides[0]), size.batch, size.sides[0])
            for model in size.cifar
        ),
        (size.large, lambda: random_examples(size.large_part, size.sides[1]), size.large_batch, size.sides[1]),
    ]
    for model, make, batch, side in plan:
        data = make()
        forward = multiplications(build(backend, model, data), side)
        for name, switches in switches_of(size).items():
            for share in SHARES:
                free_memory()
                seconds = np.median(seconds_per_epoch(backend, model, data, batch, share, size.epochs, switches))
                per_second = len(data) / seconds
                utilisation = per_second * operations(forward, share) / rate
                yield f"{model}, {side}x{side}", name, f"{share:.0%}", f"{per_second:,.0f}", f"{utilisation:.0%}"


def recipe(backend: Backend, size: Size, rate: float) -> Iterator[tuple[str, ...]]:
    """Yield the wide network's whole recipe, extrapolated from whole epochs, with the goals."""
    model, side = size.cifar[-1], size.sides[0]
    data = random_examples(size.epoch, side)
    forward = multiplications(build(backend, model, data), side)
    switches = list(switches_of(size).values())[-1]
    for share, goal in GOAL_MINUTES.items():
        free_memory()
        seconds = np.array(seconds_per_epoch(backend, model, data, size.batch, share, size.epochs, switches))
        minutes, work = np.median(seconds) * RECIPE_EPOCHS / 60, operations(forward, share) * len(data)
        utilisation = work / np.median(seconds) / rate
        yield (
            "full AT" if share == 1 else f"{share:.0%} ESAT",
            f"{work * RECIPE_EPOCHS / 1e15:,.3g}",
            f"{np.median(seconds):.3g} ({seconds.min():.3g} to {seconds.max():.3g})",
            f"{minutes:.3g}",
            judged(f"under {goal}", minutes < goal, size),
            f"{utilisation:.0%}",
            judged(f"at least {GOAL_UTILISATION:.0%}", utilisation >= GOAL_UTILISATION, size),
        )


def judged(goal: str, met: bool, size: Size) -> str:
    """Say whether a goal is met; a smoke round measures none."""
    return f"{goal}: {'not measured' if size == SMOKE else 'met' if met else 'missed'}"


def free_memory() -> None:
    """Drop compiled graphs and cached memory of the row before."""
    torch.compiler.reset()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def table(*lines: tuple[str, ...]) -> str:
    """Return a Markdown table; the first line is its head."""
    head, *rest = lines
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ("---",) * len(head), *rest))


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="", help="cpu, cuda or cuda:N; cuda if there is none given")
    parser.add_argument("--smoke", action="store_true", help="tiny numbers, on a CPU unless a device is given")
    arguments = parser.parse_args()
    size = SMOKE if arguments.smoke else Size()
    backend = get_backend("torch", arguments.device or ("cpu" if arguments.smoke else "cuda"))
    card = "CPU" if backend.device == "cpu" else torch.cuda.get_device_name(torch.device(backend.device))
    versions = ", ".join(f"{name} {number}" for name, number in backend.versions().items())
    rate = matrix_rate(backend, size.matrix)
    print(f"{card}, {versions}; bf16 matrix product of {size.matrix}: {rate / 1e12:.3g} TFLOP/s\n")
    head = ("recipe of 201 epochs", "PFLOP", "s per epoch", "minutes", "goal", "of matrix rate", "goal")
    print(table((f"{size.cifar[-1]}: {head[0]}", *head[1:]), *recipe(backend, size, rate)), flush=True)
    head = ("network", "precision", "share in A", "images/s", "of bf16 matrix rate")
    print("\n" + table(head, *rates(backend, size, rate)), flush=True)
    lines = []
    for model in size.cifar:
        data = random_examples(size.attacked, size.sides[0])
        per_second, robust = attacked_per_second(backend, model, data, size.attacks)
        lines.append(
            (
                model,
                size.attacks if isinstance(size.attacks, str) else ", ".join(size.attacks),
                f"{per_second:.3g}",
                f"{robust:.0%}",
            )
        )
    print("\n" + table(("AutoAttack", "attacks", "images/s", "not broken"), *lines), flush=True)


if __name__ == "__main__":
    main()
