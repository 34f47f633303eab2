"""Adversarial training with other packages, each used as its documentation says.

A peer gets a model in evaluation mode, makes its attack once, and then takes batch after batch. No attack starts at
random, and all return the last iterate, as ours does.
"""

from __future__ import annotations

import os

os.environ["TQDM_DISABLE"] = "1"  # adversarial-robustness-toolbox draws a bar for every call

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from sat_core.attack_spec import AttackSpec
from sat_core.training_spec import TrainingSpec

Perturb = Callable[[Any, Any], Any]
"""Turns images in [0, 1] and int64 labels into adversarial examples, in the peer's own kind of array.
"""


@dataclass(frozen=True)
class Peer:
    """A package in use.

    Args:
        perturb: The attack alone.
        step: Attack and training step on one batch; returns the training loss.
    """

    perturb: Perturb
    step: Callable[[Any, Any], float]


@dataclass(frozen=True)
class Task:
    """What every peer has to do.

    Args:
        attack: The attack.
        training: The settings of SGD.
        shape: Shape of an image in the framework's layout.
    """

    attack: AttackSpec
    training: TrainingSpec
    shape: tuple[int, ...]


def sgd(module: nn.Module, t: TrainingSpec) -> torch.optim.Optimizer:
    """Return the optimiser that our step has."""
    return torch.optim.SGD(module.parameters(), t.lr, momentum=t.momentum, weight_decay=t.weight_decay)


def with_perturb(module: nn.Module, task: Task, perturb: Perturb) -> Peer:
    """Wrap an attack in the training loop that everyone writes."""
    optimizer = sgd(module, task.training)

    def step(images: Tensor, labels: Tensor) -> float:
        module.eval()
        adversarial = perturb(images, labels)
        module.train()
        optimizer.zero_grad()
        loss = cross_entropy(module(adversarial), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return Peer(perturb, step)


def torchattacks(module: nn.Module, task: Task) -> Peer:
    """Use torchattacks: PGDL2 and PGD."""
    from torchattacks import PGD, PGDL2

    attack = task.attack
    kind = {"L2": PGDL2, "Linf": PGD}[attack.norm]
    perturb = kind(module, eps=attack.eps, alpha=attack.step_size, steps=attack.steps, random_start=False)
    return with_perturb(module, task, perturb)


def foolbox(module: nn.Module, task: Task) -> Peer:
    """Use foolbox: L2PGD and LinfPGD."""
    from foolbox import PyTorchModel
    from foolbox.attacks import L2PGD, LinfPGD

    attack = task.attack
    kind = {"L2": L2PGD, "Linf": LinfPGD}[attack.norm]
    pgd = kind(abs_stepsize=attack.step_size, steps=attack.steps, random_start=False)
    model = PyTorchModel(module.eval(), bounds=(0, 1))
    # The second of three results: examples clipped to the ball.
    return with_perturb(module, task, lambda x, y: pgd(model, x, y, epsilons=attack.eps)[1])


class _RememberedLoss(nn.CrossEntropyLoss):
    """Keeps the last loss, which adversarial-robustness-toolbox does not return."""

    last = torch.zeros(())

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        self.last = super().forward(input, target)
        return self.last


def _art_pgd(estimator: Any, task: Task) -> Any:
    from art.attacks.evasion import ProjectedGradientDescent

    attack = task.attack
    norm = {"L2": 2, "Linf": np.inf}[attack.norm]
    options = {"eps": attack.eps, "eps_step": attack.step_size, "max_iter": attack.steps, "num_random_init": 0}
    return ProjectedGradientDescent(estimator, norm, **options, batch_size=task.training.batch_size, verbose=False)


def _art_torch(module: nn.Module, task: Task) -> tuple[Any, _RememberedLoss]:
    from art.estimators.classification import PyTorchClassifier

    loss = _RememberedLoss()
    options = {"input_shape": task.shape, "nb_classes": 10, "clip_values": (0.0, 1.0), "device_type": "cpu"}
    return PyTorchClassifier(module, loss, optimizer=sgd(module, task.training), **options), loss


def art(module: nn.Module, task: Task) -> Peer:
    """Use adversarial-robustness-toolbox: ProjectedGradientDescent, from arrays to arrays."""
    pgd = _art_pgd(_art_torch(module, task)[0], task)
    return with_perturb(module, task, lambda x, y: torch.from_numpy(pgd.generate(x.numpy(), y.numpy())))


def art_trainer(module: nn.Module, task: Task) -> Peer:
    """Use adversarial-robustness-toolbox: AdversarialTrainer, which does the whole step."""
    from art.defences.trainer import AdversarialTrainer

    estimator, loss = _art_torch(module, task)
    pgd = _art_pgd(estimator, task)
    trainer = AdversarialTrainer(estimator, pgd, ratio=1.0)

    def step(images: Tensor, labels: Tensor) -> float:
        trainer.fit(images.numpy(), labels.numpy(), batch_size=len(images), nb_epochs=1)
        return loss.last.item()

    return Peer(lambda x, y: torch.from_numpy(pgd.generate(x.numpy(), y.numpy())), step)


def art_tensorflow(model: Any, task: Task) -> Peer:
    """Use adversarial-robustness-toolbox: AdversarialTrainer of a Keras model, on arrays `(n, h, w, c)`."""
    import keras
    from art.defences.trainer import AdversarialTrainer
    from art.estimators.classification import TensorFlowV2Classifier

    training = task.training
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.SGD(training.lr, momentum=training.momentum, weight_decay=training.weight_decay)
    options = {"input_shape": task.shape, "nb_classes": 10, "clip_values": (0.0, 1.0)}
    estimator = TensorFlowV2Classifier(model, loss_object=loss, optimizer=optimizer, **options)
    pgd = _art_pgd(estimator, task)
    trainer = AdversarialTrainer(estimator, pgd, ratio=1.0)

    def step(images: np.ndarray, labels: np.ndarray) -> float:
        trainer.fit(images, labels, batch_size=len(images), nb_epochs=1)
        return float("nan")  # it neither returns nor keeps the loss

    return Peer(pgd.generate, step)


PEERS: dict[str, Callable[[nn.Module, Task], Peer]] = {
    "torchattacks": torchattacks,
    "foolbox": foolbox,
    "ART": art,
    "ART AdversarialTrainer": art_trainer,
}
"""The peers on PyTorch. ART is adversarial-robustness-toolbox."""
