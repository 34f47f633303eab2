"""A complete backend in numpy with one model, softmax regression, whose gradients are analytic.

It runs every part of the core without a framework: the epoch loop, resume, the contract suite.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, final

import numpy as np

from sat_core.augmentation import AUGMENTATIONS
from sat_core.backend import Backend, Classifier, OnBatch, State, StepResult, Trainer
from sat_core.batches import BatchPlan
from sat_core.checkpoint import check_state
from sat_core.data import Examples, as_float
from sat_core.errors import NotInstalledError, SpecError
from sat_core.reference.attacks import pgd, takes_start
from sat_core.reference.augmentation import augment
from sat_core.reference.losses import loss_and_gradient, weighted_mean
from sat_core.spec import AttackSpec, TrainingSpec


@final
class LinearClassifier(Classifier):
    """z = W·vec(normalised x) + b, pixels in the canonical order (channel, row, column)."""

    def __init__(self, description: Mapping[str, Any], state: State) -> None:
        self.description = description
        self.classes = description["classes"]
        self.image_shape = tuple(description["image_shape"])
        self.native = state
        channels = self.image_shape[2]
        self._mean = np.array(description["mean"] or (0.0,) * channels)
        self._std = np.array(description["std"] or (1.0,) * channels)

    def logits(self, images: np.ndarray) -> np.ndarray:
        return (self._flat(images) @ self.native["fc.weight"].T + self.native["fc.bias"]).astype(np.float32)

    def features(self, images: np.ndarray) -> np.ndarray:
        return self._flat(images).astype(np.float32)

    def perturb(
        self, images: np.ndarray, labels: np.ndarray, attack: AttackSpec, rng: np.random.Generator | None = None
    ) -> np.ndarray:
        return pgd(self.loss_gradient, as_float(images), labels, attack, takes_start(attack, images, rng))

    def loss_gradient(
        self, images: np.ndarray, labels: np.ndarray, loss: str = "ce", targets: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        logits = self.logits(images)
        losses, over_logits = loss_and_gradient(logits, labels, loss, targets)
        return logits, losses.astype(np.float32), self.input_vjp(images, over_logits)

    def input_vjp(self, images: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
        h, w, c = self.image_shape
        flat = cotangent @ self.native["fc.weight"]
        return (flat.reshape(-1, c, h, w).transpose(0, 2, 3, 1) / self._std).astype(np.float32)

    def as_torch_module(self) -> Any:
        raise NotInstalledError("the numpy reference has no torch module; take a backend such as 'torch'")

    def state(self) -> State:
        return {name: value.copy() for name, value in self.native.items()}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        check_state(self.native, state, "linear")
        for name, value in state.items():
            self.native[name][...] = value

    def _flat(self, images: np.ndarray) -> np.ndarray:
        normal = (as_float(images) - self._mean) / self._std
        return normal.transpose(0, 3, 1, 2).reshape(len(images), -1)


@final
class LinearTrainer(Trainer):
    """The training step in numpy, with SGD as PyTorch writes it: v ← μ·v + g + λ·w; w ← w - lr·(v or g + μ·v)."""

    def __init__(
        self, classifier: LinearClassifier, data: Examples, training: TrainingSpec, attack: AttackSpec
    ) -> None:
        if training.optimizer != "sgd":
            raise SpecError(f"training.optimizer: the numpy reference has sgd, got {training.optimizer!r}")
        self._classifier, self._data, self._training, self._attack = classifier, data, training, attack
        self._velocity = {name: np.zeros_like(value) for name, value in classifier.native.items()}

    def run(self, batches: Iterable[BatchPlan], on_batch: OnBatch) -> None:
        for plan in batches:
            loss, logits = self._step(plan)
            on_batch(plan, StepResult(lambda loss=loss: loss, lambda logits=logits: logits))  # type: ignore[misc]

    def _step(self, plan: BatchPlan) -> tuple[float, np.ndarray]:
        model, t = self._classifier, self._training
        labels = self._data.labels[plan.index]
        x = augment(self._data.float_images(plan.index), AUGMENTATIONS.get(t.augmentation), plan.draws).copy()
        if plan.members.any():
            own = plan.members
            x[own] = pgd(model.loss_gradient, x[own], labels[own], self._attack, plan.start)
        logits = model.logits(x)
        losses, over_logits = loss_and_gradient(logits, labels)
        over_logits *= (plan.weights / plan.weights.sum())[:, None]
        gradients = {"fc.weight": over_logits.T @ model._flat(x), "fc.bias": over_logits.sum(axis=0)}
        for name, value in model.native.items():
            gradient = gradients[name] + t.weight_decay * value
            self._velocity[name] = t.momentum * self._velocity[name] + gradient
            ahead = gradient + t.momentum * self._velocity[name] if t.nesterov else self._velocity[name]
            value -= (plan.lr * ahead).astype(value.dtype)
        return weighted_mean(losses, plan.weights), logits

    def state(self) -> State:
        return {f"{name}.momentum_buffer": value.copy() for name, value in self._velocity.items()}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        self._velocity = {name.removesuffix(".momentum_buffer"): np.array(value) for name, value in state.items()}


@final
class LinearBackend(Backend):
    """The numpy reference backend; its only model is ``linear``."""

    name = "numpy"

    def __init__(self, device: str = "cpu") -> None:
        self.device = device

    def models(self) -> tuple[str, ...]:
        return ("linear",)

    def new(self, description: Mapping[str, Any]) -> LinearClassifier:
        classes, pixels = description["classes"], int(np.prod(description["image_shape"]))
        state = {"fc.weight": np.zeros((classes, pixels), np.float32), "fc.bias": np.zeros(classes, np.float32)}
        return LinearClassifier(description, state)

    def seeded(self, seed: int) -> AbstractContextManager[None]:
        return nullcontext()

    def wrap(self, model: Any, **about: Any) -> LinearClassifier:
        return LinearClassifier({"model": "linear", "mean": (), "std": (), **about}, model)

    def trainer(self, classifier: Classifier, data: Examples, training: TrainingSpec, attack: AttackSpec) -> Trainer:
        if not isinstance(classifier, LinearClassifier):
            raise SpecError(f"trainer: expected a classifier of the numpy reference, got {type(classifier).__name__}")
        return LinearTrainer(classifier, data, training, attack)

    def versions(self) -> dict[str, str]:
        return {"numpy": np.__version__}
