"""Backends with one fault each, made from a right one through the interface alone.

They test the contract suite, which has to reject them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, final

import attrs
import numpy as np

from sat_core.attack_spec import AttackSpec
from sat_core.backend import Backend
from sat_core.batches import Planner
from sat_core.classifier import Classifier, State
from sat_core.data import Examples
from sat_core.epoch_plan import EpochPlan
from sat_core.input_spec import InputSpec
from sat_core.loss_spec import PLAIN, LossSpec
from sat_core.moments import Moments
from sat_core.network_cost import NetworkCost
from sat_core.reference import pgd
from sat_core.splits import Split
from sat_core.testing.ignoring import IGNORED, Ignoring
from sat_core.trainer import Trainer
from sat_core.training_spec import TrainingSpec

# Keras's default is 1e-3, PyTorch's 1e-5. A running variance that is larger by the difference has the same effect.
BATCHNORM_EPSILON_OFF = 1e-3 - 1e-5
FAULTS = (
    "attack in training mode",
    "no clamp",
    "ε 1 % too large",
    "loss not normalised by Σ w",
    "BatchNorm epsilon off",
    "weights touched by the attack",
    "images in the type of the weights",
    "features move under a head",
    "features learn under a head",
    "statistics in another order",
    "scaling ignored",
    "output ignored",
    "a multiply-add counted as 1",
    *IGNORED,
)
"""Names that `wrong_backend` takes."""


@final
class _WrongClassifier(Classifier):
    """A right classifier, but for one fault."""

    def __init__(self, right: Classifier, fault: str, backend: Backend) -> None:
        self._right, self._fault, self._backend = right, fault, backend
        self.inputs = right.inputs
        self.native, self.description, self.head = right.native, right.description, right.head
        self.precision = right.precision

    def _logits(self, images: np.ndarray) -> np.ndarray:
        return self._right.logits(images)

    def _features(self, images: np.ndarray) -> np.ndarray:
        return self._right.features(images)

    def _with_head(self, classes: int, seed: int) -> Classifier:
        return _WrongClassifier(self._right.with_head(classes, seed), self._fault, self._backend)

    def cost(self) -> NetworkCost | None:
        cost = self._right.cost()
        if cost is None or self._fault != "a multiply-add counted as 1":
            return cost
        return attrs.evolve(cost, forward_flops=cost.forward_flops // 2)

    def last_layer(self) -> tuple[str, ...]:
        return self._right.last_layer()

    def learn(self, layers: str) -> None:
        self._right.learn("all" if self._fault == "features learn under a head" else layers)
        self.head = self._right.head

    def _loss_gradient(
        self, images: np.ndarray, labels: np.ndarray, loss: str, targets: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self._right.loss_gradient(images, labels, loss, targets)

    def as_torch_module(self) -> Any:
        return self._right.as_torch_module()

    def _perturb(
        self, images: np.ndarray, labels: np.ndarray, attack: AttackSpec, start: np.ndarray | None
    ) -> np.ndarray:
        if self._fault == "ε 1 % too large":
            attack = attrs.evolve(attack, eps=attack.eps * 1.01)
        if self._fault == "no clamp" and attack.loss != "kl":  # of which a classifier gives no gradient
            # A right classifier refuses pixels outside of [0, 1]: gradients are taken at the nearest image.
            return pgd(self._inside, images, labels, attack, start, clamp=False)
        if self._fault == "images in the type of the weights":
            images = images.astype(self.precision).astype(np.float32)
        if self._fault == "attack in training mode":
            self._use_batch_statistics(images, labels)
        adversarial = self._right._perturb(images, labels, attack, start)
        if self._fault == "weights touched by the attack":
            self._right.load_state({k: v * np.float32(1.0001) for k, v in self._right.state().items()})
        return adversarial

    def _inside(self, images: np.ndarray, labels: np.ndarray, loss: str) -> tuple[np.ndarray, ...]:
        return self.loss_gradient(np.clip(images, 0, 1), labels, loss)

    def _use_batch_statistics(self, images: np.ndarray, labels: np.ndarray) -> None:
        """One step that learns nothing reveals the batch's statistics: new = 0.9 · old + 0.1 · batch."""
        before = self._right.state()
        # No member: the step must not attack, or the statistics would be those of adversarial images.
        everyone = Split(
            kind="examples",
            strategy="listed",
            members=np.zeros(len(images), bool),
            classes=None,
            weights=(1.0, 1.0),
        )
        training = TrainingSpec(epochs=1, batch_size=len(images), lr=0.0, weight_decay=0.0)
        plan = Planner(everyone, training, AttackSpec(), self.image_shape).epoch(0)
        self._backend.trainer(self._right, Examples(images, labels, self.classes), training, AttackSpec()).run(plan)
        after = self._right.state()
        self._right.load_state({k: 10 * v - 9 * before[k] if "running" in k else v for k, v in after.items()})

    def state(self) -> State:
        return self._shift(self._right.state(), -BATCHNORM_EPSILON_OFF)

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        self._right.load_state(self._shift(dict(state), BATCHNORM_EPSILON_OFF))

    def _shift(self, state: State, by: float) -> State:
        if self._fault != "BatchNorm epsilon off":
            return state
        return {k: v + np.asarray(by, v.dtype) if k.endswith("running_var") else v for k, v in state.items()}


class _Relayed(Trainer):
    """A right trainer, but for what subclasses change."""

    def __init__(self, right: Trainer) -> None:
        self._right = right

    def begin(self, plan: EpochPlan, *, record: bool = False) -> None:
        self._right.begin(plan, record=record)

    def step(self, number: int, images: np.ndarray | None = None) -> None:
        self._right.step(number, images)

    def losses(self, first: int, last: int) -> np.ndarray:
        return self._right.losses(first, last)

    def moments(self, first: int, last: int) -> Moments:
        return self._right.moments(first, last)

    def logits(self) -> np.ndarray:
        return self._right.logits()

    def order(self, first: int, last: int) -> np.ndarray:
        return self._right.order(first, last)

    def averaged(self) -> AbstractContextManager[None]:
        return self._right.averaged()

    def state(self) -> State:
        return self._right.state()

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        self._right.load_state(state)


@final
class _WrongTrainer(_Relayed):
    """Divides the loss by n instead of Σ w: for plain SGD the same as another learning rate in every step."""

    def begin(self, plan: EpochPlan, *, record: bool = False) -> None:
        # Gradients of Σ w·ℓ / n are those of Σ w·ℓ / Σ w times the batch's mean weight.
        self._right.begin(attrs.evolve(plan, lr=plan.lr * plan.weights.mean(axis=1)), record=record)


@final
class _Ignoring(_Relayed):
    """Makes the steps of another plan."""

    def __init__(self, right: Trainer, seen: Ignoring) -> None:
        super().__init__(right)
        self._seen = seen

    def begin(self, plan: EpochPlan, *, record: bool = False) -> None:
        self._right.begin(self._seen.plan(plan), record=record)


@final
class _WrongRecord(_Relayed):
    """Records the statistics of its steps in another order."""

    def moments(self, first: int, last: int) -> Moments:
        right = self._right.moments(first, last)
        return Moments(**{name: value[::-1] for name, value in attrs.asdict(right).items()})


@final
class _Moving(_Relayed):
    """Changes statistics that training a head must not touch, by too little to show in losses and logits."""

    def __init__(self, right: Trainer, classifier: Classifier) -> None:
        super().__init__(right)
        self._classifier = classifier

    def step(self, number: int, images: np.ndarray | None = None) -> None:
        self._right.step(number, images)
        state = self._classifier.state()
        moved = {k: v * np.asarray(1.001, v.dtype) for k, v in state.items() if k.endswith("running_mean")}
        self._classifier.load_state(state | moved)


@final
class _WrongBackend(Backend):
    def __init__(self, right: Backend, fault: str) -> None:
        self._right, self._fault = right, fault
        self.name, self.device = right.name, right.device

    def models(self) -> tuple[str, ...]:
        return self._right.models()

    def versions(self) -> dict[str, str]:
        return self._right.versions()

    def new(self, description: Mapping[str, Any]) -> Classifier:
        if self._fault == "scaling ignored":
            description = {name: value for name, value in description.items() if name != "scaling"}
        return _WrongClassifier(self._right.new(description), self._fault, self._right)

    def seeded(self, seed: int) -> AbstractContextManager[None]:
        return self._right.seeded(seed)

    def wrap_for(self, inputs: InputSpec, model: Any) -> Classifier:
        if self._fault == "output ignored":
            inputs = attrs.evolve(inputs, output="")
        return _WrongClassifier(self._right.wrap_for(inputs, model), self._fault, self._right)

    def trainer(
        self,
        classifier: Classifier,
        data: Examples,
        training: TrainingSpec,
        attack: AttackSpec,
        features: np.ndarray | None = None,
        loss: LossSpec = PLAIN,
    ) -> Trainer:
        inner = classifier._right if isinstance(classifier, _WrongClassifier) else classifier
        if self._fault in IGNORED:
            seen = IGNORED[self._fault]
            settings = seen.training(training), seen.attack(attack), features, seen.loss(loss)
            return _Ignoring(self._right.trainer(inner, data, *settings), seen)
        right = self._right.trainer(inner, data, training, attack, features, loss)
        if self._fault == "features move under a head" and inner.head is not None:
            return _Moving(right, inner)
        if self._fault == "statistics in another order":
            return _WrongRecord(right)
        return _WrongTrainer(right) if self._fault == "loss not normalised by Σ w" else right


def wrong_backend(right: Backend, fault: str) -> Backend:
    """Return `right` with one of `FAULTS`."""
    return _WrongBackend(right, fault)
