"""The training step in numpy, with SGD and AdamW as PyTorch writes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, final

import attrs
import numpy as np

from sat_core.attack_spec import AttackSpec
from sat_core.augmentation import AUGMENTATIONS
from sat_core.classifier import State
from sat_core.data import Examples
from sat_core.epoch_plan import EpochPlan
from sat_core.errors import CheckpointError
from sat_core.loss_spec import PLAIN, LossSpec
from sat_core.member_losses import LOSSES
from sat_core.moments import Moments, moments
from sat_core.process_group import ALONE, ProcessGroup
from sat_core.reference.attacks import pgd, strongest
from sat_core.reference.augmentation import augment
from sat_core.reference.batch import Batch
from sat_core.reference.classifier import NumpyClassifier
from sat_core.reference.layers import Pass
from sat_core.reference.losses import loss_and_gradient
from sat_core.reference.member_losses import member_losses
from sat_core.reference.mixing import mix
from sat_core.reference.optimizer import adamw, clipped, sgd
from sat_core.state import check_state
from sat_core.threat import THREAT_MODELS
from sat_core.trainer import AVERAGE, DELTA, Trainer
from sat_core.training_spec import TrainingSpec


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
        loss: LossSpec = PLAIN,
        group: ProcessGroup = ALONE,
    ) -> None:
        # In the dictionary itself: the classifier reads the same one.
        if training.precision == "float64":
            for name, value in classifier.native.items():
                classifier.native[name] = value.astype(np.float64)
        self._classifier, self._data, self._training, self._attack = classifier, data, training, attack
        self._loss, self._features, self._group = loss, features, group
        self._update = {"sgd": sgd, "adamw": adamw}[training.optimizer]
        self._run = classifier.run if features is None else classifier.head
        # A head learns alone; the features below it stay as they are, BatchNorm's statistics included (recipe, 1.4).
        prefix = "fc." if classifier.head else ""
        learning = [name for name in classifier.native if "running_" not in name and name.startswith(prefix)]
        self._buffers: dict[str, State] = {name: {} for name in learning}
        # What does not learn has no average: that would be off by rounding.
        averaged = classifier.state() if training.averaging != "none" else {}
        self._average: State = {name: value for name, value in averaged.items() if name.startswith(prefix)}
        self._delta: np.ndarray | None = None

    def begin(self, plan: EpochPlan, *, record: bool = False) -> None:
        self._plan = plan
        self._losses: dict[int, float] = {}
        self._logits: dict[int, np.ndarray] = {}
        self._orders: dict[int, np.ndarray] = {}

    def step(self, number: int, images: np.ndarray | None = None) -> None:
        batch, parts = self._batch(number, images), self._training.micro_batches
        if self._plan.online:
            self._orders[number] = self._chosen(batch, self._plan.index[number])
            batch = batch.ordered(self._orders[number])
        for _ in range(self._attack.replays):
            done = [self._learn(batch.part(k, parts)) for k in range(parts)]
            self._apply({name: np.sum([g[name] for _, _, g in done], axis=0) for name in self._buffers}, number)
        self._losses[number] = sum(loss for loss, _, _ in done)
        logits = np.empty((len(batch.images), self._classifier.classes), np.float32)
        for k, (_, some, _) in enumerate(done):
            logits[k::parts] = some
        self._logits[number] = logits
        if self._plan.decay is not None:
            decay = self._plan.decay[number]
            for name, average in self._average.items():
                self._average[name] = decay * average + (1 - decay) * self._classifier.native[name]

    def _batch(self, number: int, images: np.ndarray | None) -> Batch:
        plan, model, t = self._plan, self._classifier, self._training
        index = plan.index[number]
        targets = np.eye(model.classes)[self._data.labels[index]]
        if self._features is not None:
            x = self._features[index].astype(model.dtype)
        else:
            images = self._data.images[index] if images is None else images
            images = images.astype(model.dtype) / (255 if images.dtype == np.uint8 else 1)
            moves = None if plan.moves is None else plan.moves.of(number)
            x = augment(images, AUGMENTATIONS.get(t.augmentation), moves)
            x, targets = mix(x, targets, plan.mixes, number)
        return Batch(
            images=x,
            targets=targets,
            weights=plan.weights[number] / plan.totals[number],
            members=int(plan.members[number]),
            keys=None if plan.keys is None else plan.keys[number],
            beta=0.0 if plan.beta is None else float(plan.beta[number]),
            strength=1.0 if plan.strength is None else float(plan.strength[number]),
        )

    def _chosen(self, batch: Batch, index: np.ndarray) -> np.ndarray:
        """Return the order of a batch in which members come first."""
        logits = self._run(Pass(self._classifier.native), batch.images)[0]
        margin = moments(logits, self._data.labels[index]).margin
        return np.argsort(np.abs(margin) if self._plan.online == "boundary" else margin, kind="stable")

    def _learn(self, batch: Batch) -> tuple[float, np.ndarray, State]:
        """Attack a part of the batch, and return its part of the loss, its logits, and gradients over the weights."""
        native, m = self._classifier.native, batch.members
        x = batch.images.copy()
        if m and self._attack.free:
            x[:m] = np.clip(x[:m] + self._free_delta(x)[:m], 0, 1)
        elif m:
            x[:m] = self._attacked(batch)
        if m and LOSSES.get(self._loss.kind).pairs:
            x = np.concatenate([x, batch.images[:m]])
        weights = dict(native)
        # All ranks or none: members of this share are not all that there are.
        if self._training.awp and (m or self._group.size > 1):
            _, _, gradients, _ = self._forward(weights, x, attrs.evolve(batch, weights=_first(batch.weights, m)))
            for name in self._buffers:
                if native[name].ndim > 1:
                    gradients[name] = np.sum(self._group.gather(gradients[name]), axis=0)
                    size = np.linalg.norm(gradients[name])
                    push = self._training.awp * np.linalg.norm(native[name].astype(np.float64)) / size if size else 0.0
                    weights[name] = native[name] + push * gradients[name]
        # One forward over the mixed batch: BatchNorm sees adversarial and clean images together.
        loss, step, gradients, over_images = self._forward(weights, x, batch)
        if m and self._attack.free:
            # Of Σ ℓ: a gradient that is divided by Σ w could be lost in the constant beside norms.
            self._move_delta(batch, over_images[:m] / batch.weights[:m, None, None, None])
        # In place, as the steps of the weights are: arrays keep their type, and whoever holds them sees the change.
        for name, value in step.running.items():
            native[name][...] = value
        return loss, self._last.astype(np.float32), gradients

    def _forward(self, weights: State, x: np.ndarray, batch: Batch) -> tuple[float, Pass, State, np.ndarray]:
        """Send a mixed batch, and clean images of its members if they follow it, forward and back in training mode."""
        n, m = len(batch.images), batch.members
        step = Pass(weights, training=self._classifier.head is None)
        logits, back = self._run(step, x)
        smooth = self._loss.label_smoothing
        targets = (1 - smooth) * batch.targets + smooth / self._classifier.classes
        losses, gradient = loss_and_gradient(logits[:n], targets)
        over_logits = np.zeros_like(logits)
        over_logits[:n] = gradient * batch.weights[:, None]
        if m:
            clean = logits[n:] if len(logits) > n else None
            losses[:m], over_adversarial, over_clean = member_losses(
                self._loss.kind, logits[:m], clean, targets[:m], batch.beta
            )
            # Normalised inside the batch: w_A = 18 shifts weight to A, and does not make the step 18 times as long.
            over_logits[:m] = over_adversarial * batch.weights[:m, None]
            if clean is not None:
                over_logits[n:] = over_clean * batch.weights[:m, None]
        over_images = back(over_logits)
        self._last = logits[:n]
        return float(batch.weights @ losses), step, step.gradients, over_images

    def _attacked(self, batch: Batch) -> np.ndarray:
        # In evaluation mode, from the augmented image, without weights and smoothing (recipe, section 3).
        attack, m = self._attack, batch.members
        images, targets = batch.images[:m], batch.targets[:m]
        labels = targets if self._plan.mixes is not None else targets.argmax(axis=1)
        tries = []
        for restart in range(attack.restarts):
            start = None
            if batch.keys is not None:
                keys, radius = batch.keys[:m, 2 * restart : 2 * restart + 2], attack.start_radius * batch.strength
                start = THREAT_MODELS.get(attack.norm).start(keys, images.shape, radius)
            gradient = self._classifier.gradient
            tries.append(pgd(gradient, images, labels, attack, start, strength=batch.strength))
        return strongest(self._classifier.gradient, images, labels, attack, tries)

    def _free_delta(self, images: np.ndarray) -> np.ndarray:
        if self._delta is None:
            self._delta = np.zeros(images.shape, images.dtype)
        return self._delta

    def _move_delta(self, batch: Batch, gradient: np.ndarray) -> None:
        threat, x, m = THREAT_MODELS.get(self._attack.norm), batch.images[: batch.members], batch.members
        delta = self._free_delta(batch.images)
        moved = delta[:m] + self._attack.step_size * batch.strength * threat.ascent_direction(gradient)
        delta[:m] = np.clip(x + threat.project(moved, self._attack.eps * batch.strength), 0, 1) - x

    def _apply(self, gradients: State, number: int) -> None:
        gradients = {name: np.sum(self._group.gather(gradient), axis=0) for name, gradient in gradients.items()}
        for name, gradient in clipped(gradients, self._training.clip_norm).items():
            weight, buffers = self._classifier.native[name], self._buffers[name]
            self._update(weight, gradient, buffers, self._plan.lr[number], self._training)

    def losses(self, first: int, last: int) -> np.ndarray:
        return np.array([self._losses[number] for number in range(first, last)])

    def moments(self, first: int, last: int) -> Moments:
        logits = np.concatenate([self._logits[number] for number in range(first, last)])
        index = [self._plan.index[n][self._orders.get(n, slice(None))] for n in range(first, last)]
        return moments(logits, self._data.labels[np.concatenate(index)])

    def logits(self) -> np.ndarray:
        return self._logits[max(self._logits)]

    def order(self, first: int, last: int) -> np.ndarray:
        return np.stack([self._orders[number] for number in range(first, last)])

    @contextmanager
    def averaged(self) -> Iterator[None]:
        own = self._classifier.state()
        average = {name: self._average.get(name, value).astype(value.dtype) for name, value in own.items()}
        self._classifier.load_state(average)
        try:
            yield
        finally:
            self._classifier.load_state(own)

    def state(self) -> State:
        buffers = {
            f"{name}.{key}": np.array(value)
            for name, buffers in self._buffers.items()
            for key, value in buffers.items()
        }
        average = {f"{AVERAGE}{name}": value.copy() for name, value in self._average.items()}
        return buffers | average | ({} if self._delta is None else {DELTA: self._delta.copy()})

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        for name in {f"{AVERAGE}{name}" for name in self._average} - state.keys():
            raise CheckpointError(f"optimiser: lacks {name!r}")
        self._delta = None
        for full, value in state.items():
            like = self._like(full, value)
            check_state({} if like is None else {full: like}, {full: value}, "optimiser")
            name, _, key = full.rpartition(".")
            if full == DELTA:
                self._delta = np.array(value)
            elif full.startswith(AVERAGE):
                self._average[full.removeprefix(AVERAGE)] = np.array(value)
            else:
                self._buffers[name][key] = np.array(value)

    def _like(self, full: str, value: np.ndarray) -> Any:
        """Return an array of the shape and type that the state of that name has; None if there is none."""
        native, name = self._classifier.native, full.rpartition(".")[0]
        if full == DELTA:
            return np.zeros((self._training.batch_size, *self._classifier.image_shape), self._classifier.dtype)
        if full.startswith(AVERAGE):
            return self._average.get(full.removeprefix(AVERAGE))
        # Buffers have the shape of their weight; AdamW's count of steps is a scalar.
        return (native[name] if value.ndim else np.zeros(())) if name in self._buffers else None


def _first(weights: np.ndarray, members: int) -> np.ndarray:
    return np.where(np.arange(len(weights)) < members, weights, 0)
