"""A process whose memory is measured: python benchmarks/memory.py training|evaluation ours|bare|idle MODEL BATCH

"ours" and "bare" do the same work on the same network and images: two training steps with PGD-2, or the logits of 1,024
images, 512 at a time. "bare" is the shortest loop in plain PyTorch; "idle" makes network and images and does nothing.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch

from sat_core.backend import get_backend
from sat_core.data import Examples

STEPS, STEP_SIZE, EPS = 2, 0.1, 0.5
EVALUATED, AT_ONCE = 1024, 512


def images(n: int) -> Examples:
    """Make random images of CIFAR's size."""
    rng = np.random.default_rng(0)
    return Examples(rng.integers(0, 256, (n, 32, 32, 3), np.uint8), rng.integers(0, 10, n), classes=10)


def train(classifier: Any, data: Examples, batch: int) -> None:
    """Train with our trainer, everything in A."""
    from sat_core.attack_spec import AttackSpec
    from sat_core.batches import Planner
    from sat_core.splits import Split
    from sat_core.training_spec import TrainingSpec

    training = TrainingSpec(epochs=1, batch_size=batch, lr=0.01, schedule="constant")
    attack = AttackSpec(norm="L2", eps=EPS, steps=STEPS, step_size=STEP_SIZE)
    members = np.ones(len(data), bool)
    split = Split(kind="examples", strategy="random", members=members, classes=None, weights=(1.0, 1.0))
    plan = Planner(split, training, attack, (32, 32, 3)).epoch(0)
    get_backend("torch").trainer(classifier, data, training, attack).run(plan)


def sizes(delta: torch.Tensor) -> torch.Tensor:
    """Return the Euclidean norm of each image, `(n, 1, 1, 1)`."""
    return torch.linalg.vector_norm(delta, dim=(1, 2, 3), keepdim=True)


def train_bare(module: torch.nn.Module, data: Examples, batch: int) -> None:
    """Train with the loop that everyone writes."""
    pixels, labels = torch.from_numpy(data.images.transpose(0, 3, 1, 2).copy()), torch.from_numpy(data.labels)
    optimizer = torch.optim.SGD(module.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
    loss_of = torch.nn.CrossEntropyLoss()
    for first in range(0, len(data), batch):
        x, y = pixels[first : first + batch].float() / 255, labels[first : first + batch]
        module.eval()
        adversarial = x
        for _ in range(STEPS):
            adversarial = adversarial.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(loss_of(module(adversarial), y), adversarial)
            moved = adversarial.detach() + STEP_SIZE * gradient / sizes(gradient)
            delta = moved - x
            delta = delta * (EPS / sizes(delta)).clamp(max=1)
            adversarial = (x + delta).clamp(0, 1)
        module.train()
        optimizer.zero_grad()
        loss_of(module(adversarial), y).backward()
        optimizer.step()


def evaluate_bare(module: torch.nn.Module, data: Examples) -> np.ndarray:
    """Return the logits, computed batch by batch."""
    module.eval()
    logits = []
    with torch.no_grad():
        for first in range(0, len(data), AT_ONCE):
            x = torch.from_numpy(data.images[first : first + AT_ONCE].transpose(0, 3, 1, 2).copy()).float() / 255
            logits.append(module(x).numpy())
    return np.concatenate(logits)


def main() -> None:
    """Do the work that the arguments name."""
    work, who, model, batch = sys.argv[1:]
    torch.set_num_threads(1)
    classifier: Any = get_backend("torch").build(model, classes=10, image_shape=(32, 32, 3))
    data = images(2 * int(batch) if work == "training" else EVALUATED)
    if who == "idle":
        return
    if work == "training":
        train_bare(classifier.module, data, int(batch)) if who == "bare" else train(classifier, data, int(batch))
    else:
        evaluate_bare(classifier.module, data) if who == "bare" else classifier.logits(data.images)


if __name__ == "__main__":
    main()
