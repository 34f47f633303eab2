"""The training step in numpy, with SGD and AdamW as PyTorch writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import numpy as np

from sat_core.augmentation import AUGMENTATIONS
from sat_core.batches import EpochPlan
from sat_core.classifier import State
from sat_core.data import Examples
from sat_core.difficulty import Moments, moments
from sat_core.process_group import ALONE, ProcessGroup
from sat_core.reference.attacks import pgd
from sat_core.reference.augmentation import augment
from sat_core.reference.classifier import NumpyClassifier
from sat_core.reference.layers import Pass
from sat_core.reference.losses import loss_and_gradient
from sat_core.sections import AttackSpec, TrainingSpec
from sat_core.state import check_state
from sat_core.threat import THREAT_MODELS
from sat_core.trainer import Trainer


@final
class NumpyTrainer(Trainer):
    """See `sat_core.trainer.Trainer`. On several ranks, the statistics of BatchNorm are those of each share."""

    def __init__(
        self,
        classifier: NumpyClassifier,
        data: Examples,
        training: TrainingSpec,
        attack: AttackSpec,
        features: np.ndarray | None = None,
        group: ProcessGroup = ALONE,
    ) -> None:
        # In the dictionary itself: the classifier reads the same one.
        if training.precision == "float64":
            for name, value in classifier.native.items():
                classifier.native[name] = value.astype(np.float64)
        self._classifier, self._data, self._training, self._attack = classifier, data, training, attack
        self._update = {"sgd": sgd, "adamw": adamw}[training.optimizer]
        self._features, self._group = features, group
        # A head learns alone; the features below it stay as they are, BatchNorm's statistics included (recipe, 1.4).
        prefix = "fc." if classifier.head else ""
        learning = [name for name in classifier.native if "running_" not in name and name.startswith(prefix)]
        self._buffers: dict[str, State] = {name: {} for name in learning}

    def begin(self, plan: EpochPlan, *, record: bool = False) -> None:
        self._plan = plan
        self._losses: dict[int, float] = {}
        self._logits: dict[int, np.ndarray] = {}

    def step(self, number: int, images: np.ndarray | None = None) -> None:
        plan, model, t = self._plan, self._classifier, self._training
        index, members = plan.index[number], int(plan.members[number])
        weights = plan.weights[number] / plan.totals[number]
        labels = self._data.labels[index]
        if self._features is not None:
            x, run = self._features[index].astype(model.dtype), model.head
        else:
            images = self._data.images[index] if images is None else images
            images = images.astype(model.dtype) / (255 if images.dtype == np.uint8 else 1)
            moves = None if plan.moves is None else plan.moves.of(number)
            x, run = augment(images, AUGMENTATIONS.get(t.augmentation), moves), model.run
        if members:
            first, start = slice(members), None
            if plan.keys is not None:
                threat, shape = THREAT_MODELS.get(self._attack.norm), x[first].shape
                start = threat.start(plan.keys[number][first], shape, self._attack.eps)
            # In evaluation mode, from the augmented image, with the plain cross-entropy (recipe, section 3).
            x[first] = pgd(model.gradient, x[first], labels[first], self._attack, start)
        # One forward over the mixed batch: BatchNorm sees adversarial and clean images together.
        step = Pass(model.native, training=model.head is None)
        logits, back = run(step, x)
        losses, over_logits = loss_and_gradient(logits, labels)
        # Normalised inside the batch: w_A = 18 shifts weight to A, and does not make the step 18 times as long.
        back(over_logits * weights[:, None])
        for name, buffers in self._buffers.items():
            gradient = np.sum(self._group.gather(step.gradients[name]), axis=0)
            self._update(model.native[name], gradient, buffers, plan.lr[number], t)
        # In place, as the steps of the weights are: arrays keep their type, and whoever holds them sees the change.
        for name, value in step.running.items():
            model.native[name][...] = value
        self._losses[number] = float(weights @ losses)
        self._logits[number] = logits.astype(np.float32)

    def losses(self, first: int, last: int) -> np.ndarray:
        return np.array([self._losses[number] for number in range(first, last)])

    def moments(self, first: int, last: int) -> Moments:
        logits = np.concatenate([self._logits[number] for number in range(first, last)])
        return moments(logits, self._data.labels[self._plan.index[first:last].ravel()])

    def logits(self) -> np.ndarray:
        return self._logits[max(self._logits)]

    def state(self) -> State:
        return {
            f"{name}.{key}": np.array(value)
            for name, buffers in self._buffers.items()
            for key, value in buffers.items()
        }

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        for full, value in state.items():
            name, _, key = full.rpartition(".")
            # Buffers have the shape of their weight; AdamW's count of steps is a scalar.
            like = (
                {full: self._classifier.native[name] if value.ndim else np.zeros(())} if name in self._buffers else {}
            )
            check_state(like, {full: value}, "optimiser")
            self._buffers[name][key] = np.array(value)


def sgd(weight: np.ndarray, gradient: np.ndarray, buffers: State, lr: float, t: TrainingSpec) -> None:
    """Make a step of SGD in place: v ← μ·v + g + λ·w; w ← w - lr·v, or with Nesterov w - lr·(g + λ·w + μ·v)."""
    gradient = gradient + t.weight_decay * weight
    # The first v is the gradient, undamped, as in PyTorch; TensorFlow's own SGD puts the rate inside of v.
    v = buffers["momentum_buffer"] = t.momentum * buffers.get("momentum_buffer", np.zeros(())) + gradient
    weight -= lr * (gradient + t.momentum * v if t.nesterov else v)


def adamw(weight: np.ndarray, gradient: np.ndarray, buffers: State, lr: float, t: TrainingSpec) -> None:
    """Make a step of AdamW in place (Loshchilov & Hutter 2019), β = (0.9, 0.999), ε = 1e-8.

    The decay is scaled by the learning rate, as in PyTorch.
    """
    nothing = np.zeros(())
    n = buffers["step"] = buffers.get("step", nothing) + 1
    m = buffers["exp_avg"] = 0.9 * buffers.get("exp_avg", nothing) + 0.1 * gradient
    s = buffers["exp_avg_sq"] = 0.999 * buffers.get("exp_avg_sq", nothing) + 0.001 * gradient**2
    weight *= 1 - lr * t.weight_decay
    weight -= lr / (1 - 0.9**n) * m / (np.sqrt(s / (1 - 0.999**n)) + 1e-8)
