"""One rank of several that train with PyTorch; `test_torch_ranks.py` has torchrun's engine start them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import own_step
import rank_cases
import torch
import torch.distributed as dist
from rank_cases import AUGMENTED, EXACT, Case
from torch import Tensor, nn

from sat_core.backend import Backend
from sat_core.classifier import Classifier
from sat_core.epoch_plan import joined
from sat_core.process_group import ALONE, ProcessGroup
from sat_core.testing import samples
from sat_evaluation.run.ranks import join_group
from sat_torch import TorchBackend
from sat_torch.batch_norm import GlobalBatchNorm
from sat_torch.graphs import Captured

CASES = {
    **rank_cases.CASES,
    **rank_cases.OPTIONS,
    "own": Case(model="own", training=EXACT),
    "own, on augmented images": Case(model="own", training={**AUGMENTED, "optimizer": "adamw", "lr": 1e-3}),
}
# Weights stay as they are, so that statistics depend on nothing but the images that a rank has seen.
STILL = Case(share=0.0, training={**EXACT, "lr": 0.0})
LOCAL = attrs.evolve(STILL, training={**STILL.training, "batch_norm": "local"})
CAPTURED = CASES["augmented"]
DRAWING = Case(model="drawing", share=0.0, training=EXACT)


class Own(nn.Module):
    """A user's network: parameters that nothing uses, one that every second step uses, and BatchNorm of rows."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, momentum=None), nn.ReLU(), nn.Flatten())
        self.rows = nn.Sequential(nn.Linear(216, 12), nn.BatchNorm1d(12, eps=1e-3), nn.Linear(12, samples.CLASSES))
        self.unused, self.scale, self.steps = nn.Linear(3, 3), nn.Parameter(torch.ones(1)), 0

    def forward(self, images: Tensor) -> Tensor:
        self.steps += self.training
        logits: Tensor = self.rows(self.body(images))
        return logits * self.scale if self.steps % 2 else logits


class Drawing(nn.Module):
    """It draws, and keeps what it drew last."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(192, samples.CLASSES)
        self.drawn = torch.zeros(0)

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.drawn = torch.rand(3)
        logits: Tensor = self.last(images.flatten(1))
        return logits


def make(backend: Backend, model: str) -> Classifier:
    """Return a new network, the same on every rank."""
    if model in ("own", "drawing"):
        torch.manual_seed(0)
        native = Own() if model == "own" else Drawing()
        return backend.wrap(native, classes=samples.CLASSES, image_shape=samples.SHAPE)
    classifier = samples.build(backend, "small-cnn")
    if model == "last layer":
        classifier.learn("head")
    return classifier.with_head(samples.CLASSES, 1) if model == "head" else classifier


def run(case: Case, group: ProcessGroup = ALONE) -> dict[str, np.ndarray]:
    """Do as `rank_cases.run`."""
    backend = TorchBackend()
    backend.join(group)
    return rank_cases.run(backend, make(backend, case.model), case, group)


def count(case: Case, group: ProcessGroup) -> np.ndarray:
    """How often the ranks talk in a training."""
    before = dist.group.WORLD._get_sequence_number_for_group()
    run(case, group)
    return np.array(dist.group.WORLD._get_sequence_number_for_group() - before)


class Kept:
    """Keeps a network as all ranks train it, and itself, when the process ends; it must not end by a signal."""

    def __init__(self) -> None:
        self.network, self.itself = nn.parallel.DistributedDataParallel(nn.Linear(3, 3)), self
        self.network(torch.zeros(1, 3)).sum().backward()


def captured(group: ProcessGroup) -> dict[str, np.ndarray]:
    """What a training leaves behind that captures what it would on GPUs, by a recorder that runs it again."""

    def capture(trainer: Any) -> None:
        def record(body: Callable[[], None]) -> Callable[[], None]:
            def replay() -> None:
                clear, trainer._optimizer.clear = trainer._optimizer.clear, lambda: None  # it runs no Python
                body()
                trainer._optimizer.clear = clear

            return replay

        trainer._captured = Captured(trainer._capturable, trainer._changing, torch.device("cpu"), record)
        trainer._padded = True

    backend = TorchBackend()
    backend.join(group)
    return rank_cases.run(backend, make(backend, CAPTURED.model), CAPTURED, group, prepare=capture)


def drawn(group: ProcessGroup) -> np.ndarray:
    """What a user's layers draw in the last step of a training."""
    backend = TorchBackend()
    backend.join(group)
    classifier: Any = make(backend, "drawing")
    rank_cases.run(backend, classifier, DRAWING, group)
    return np.asarray(classifier.native.drawn)


LAYERS = {
    "channels first": (lambda: nn.BatchNorm2d(5), (6, 5, 4, 3)),
    "channels last": (lambda: nn.BatchNorm2d(5, momentum=0.3), (6, 5, 4, 3)),
    "not affine": (lambda: nn.BatchNorm1d(5, affine=False), (6, 5)),
    "mean of all batches": (lambda: nn.BatchNorm3d(5, momentum=None), (6, 5, 2, 2, 2)),
    "no running statistics": (lambda: nn.BatchNorm1d(5, track_running_stats=False, eps=0.1), (6, 5, 4)),
}


def normalise(name: str, group: ProcessGroup = ALONE) -> dict[str, np.ndarray]:
    """Send two batches through a layer of BatchNorm and back; the gradients of its weights are of both."""
    make_layer, shape = LAYERS[name]
    layer, left = make_layer().double(), {}
    with torch.no_grad():
        for number, parameter in enumerate(layer.parameters()):
            parameter.copy_(torch.linspace(0.5 + number, 2, 5))
    for batch in range(2):
        values = np.random.default_rng(batch).normal(30, 2, (2, *shape))
        x, weight = (torch.from_numpy(array[group.rank :: group.size].copy()) for array in values)
        if name == "channels last":
            x = x.contiguous(memory_format=torch.channels_last)
        with GlobalBatchNorm() if group.size > 1 else nullcontext():
            y = layer(x.requires_grad_())
            layer(x.detach())  # the first layer of a network, whose input has no gradient
        (weight * y.square()).sum().backward()
        left |= {f"y {batch}": together(y, group), f"gradient {batch}": together(x.grad, group)}
    for key, parameter in layer.named_parameters():
        left[key] = np.sum(group.gather(np.asarray(parameter.grad)), axis=0)
    return left | {key: np.asarray(value) for key, value in layer.named_buffers()}


def together(tensor: Tensor | None, group: ProcessGroup) -> np.ndarray:
    """The whole batch of what each rank has a share of."""
    assert tensor is not None
    return joined(group.gather(tensor.detach().numpy()[None]))[0]


def main(folder: str) -> None:
    """Save what each training and each layer leaves behind on this rank."""
    torch.set_num_threads(1)
    group = join_group("torch", "cpu")
    left = {f"case {name}": run(case, group) for name, case in CASES.items()}
    left |= {f"layer {name}": normalise(name, group) for name in LAYERS}
    left |= {"local": run(LOCAL, group), "captured": captured(group)}
    left |= {"drawn": {"first": drawn(group), "again": drawn(group)}}
    shares = {"none": 0.0, "one": 0.05, "all": 1.0}
    left["talks"] = {name: count(Case(share=share, rule="uniform"), group) for name, share in shares.items()}
    left["own step"] = own_step.gradients_on_two_ranks(group.rank)
    np.savez(Path(folder) / f"{group.rank}.npz", **{f"{a}/{b}": v for a, each in left.items() for b, v in each.items()})
    Kept()


if __name__ == "__main__":
    main(sys.argv[1])
