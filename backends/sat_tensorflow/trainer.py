"""The training step in TensorFlow, on data that lies on the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, final

import numpy as np
import tensorflow as tf
from tensorflow import Tensor

from sat_core.ascent import attack_first, padded, random_start
from sat_core.attack_spec import AttackSpec
from sat_core.augmentation import AUGMENTATIONS, Moves
from sat_core.classifier import State
from sat_core.data import Examples
from sat_core.epoch_plan import EpochPlan, check_devices
from sat_core.images import ImageSource
from sat_core.loss_spec import PLAIN, LossSpec
from sat_core.moments import STATISTICS, Moments
from sat_core.precision import FP16_SCALE, check_precision, least_precise
from sat_core.process_group import ALONE, ProcessGroup
from sat_core.trainer import Trainer
from sat_core.training_spec import TrainingSpec
from sat_tensorflow.arrays import to_numpy
from sat_tensorflow.attacked import Attacked
from sat_tensorflow.attacks import PGD
from sat_tensorflow.augmentation import augment
from sat_tensorflow.classifier import TensorFlowClassifier
from sat_tensorflow.distributed import as_rank, strategy_of, summed, take_from_first
from sat_tensorflow.losses import moments, weighted_sum
from sat_tensorflow.modes import Forward, precision
from sat_tensorflow.ops import OPS
from sat_tensorflow.optimizer import Optimizer

HALF = {"bf16": "mixed_bfloat16", "fp16": "mixed_float16"}


@final
class TensorFlowTrainer(Trainer):
    """See `sat_core.trainer.Trainer`. `training.compile` has attack and step compiled by XLA.

    Several ranks run what follows the attack under one strategy, as a graph of its own: ranks with members of A and
    ranks without have different graphs around it.
    """

    def __init__(
        self,
        classifier: TensorFlowClassifier,
        data: Examples,
        training: TrainingSpec,
        attack: AttackSpec,
        features: np.ndarray | None = None,
        loss: LossSpec = PLAIN,
        group: ProcessGroup = ALONE,
    ) -> None:
        check_devices(training, attack, group.size)
        self._group = group
        self._classifier, self._training, self._attack = classifier, training, attack
        self._traces = 0
        weights = least_precise(v.dtype for v in classifier.native.trainable_weights)
        check_precision(training.precision, weights, classifier.precision)
        self._pgd = PGD(
            Attacked(classifier, training).weights,
            xla=training.compile,
            gradient_scale=FP16_SCALE if training.precision == "fp16" else 1.0,
        )
        self._forward = self._in_precision(classifier.train if features is None else classifier.head)
        inputs = data.images if features is None else features
        # XLA compiles for each number of images, and cuDNN chooses an algorithm for each
        self._padded = training.compile or "GPU" in classifier.device
        with tf.device(classifier.device):
            self._images = None if isinstance(inputs, ImageSource) else tf.constant(inputs)
            self._labels = tf.constant(data.labels)
            learning = {id(v) for v in (classifier.head or classifier.native).trainable_variables}
            self._weights = {name: v for name, v in classifier.variables().items() if id(v) in learning}
            self._optimizer = Optimizer(self._weights, training)
        # statistics of which each rank would have its own; those of our networks are the same, if they are of all ranks
        ours = bool(classifier.description) and training.batch_norm == "global"
        self._differ = group.size > 1 and classifier.head is None and not ours
        learn: Callable[..., Any] = self._learn
        if group.size > 1:
            strategy = strategy_of(group, "GPU" in classifier.device)
            learn = lambda *tensors: strategy.run(self._learn, tensors)  # noqa: E731
        self._update = tf.function(learn, autograph=False, jit_compile=training.compile or None)
        self._graph = tf.function(self._compute, autograph=False)

    def begin(self, plan: EpochPlan, *, record: bool = False) -> None:
        self._plan, self._record = plan, record
        self._losses: dict[int, Tensor] = {}
        self._moments: dict[int, Tensor] = {}
        with tf.device(self._classifier.device):
            self._epoch = {name: tf.constant(array) for name, array in plan.arrays().items()}

    def step(self, number: int, images: np.ndarray | None = None) -> None:
        members, batch = int(self._plan.members[number]), self._plan.batch_size
        size = padded(members, batch) if self._padded else members
        with tf.device(self._classifier.device):
            decoded = None if images is None else tf.constant(images)
            # whether anything is attacked is known here: two graphs are made at most, and none has a branch
            some = tf.constant(size) if size else None
            outputs = self._graph(tf.constant(number), some, self._epoch, decoded, record=self._record)
        # tensors on the device: to read one would make the CPU wait for the GPU, and the next step begin later
        self._losses[number], self._logits, self._moments[number] = outputs

    @property
    def traces(self) -> int:
        """Number of graphs that were made, of attack and step."""
        return self._pgd.traces + self._traces

    def _compute(
        self, number: Tensor, size: Tensor | None, epoch: dict[str, Tensor], images: Tensor | None, *, record: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Make a step, of which the first `size` images are attacked; returns its loss, logits and statistics."""
        self._traces += 1  # this is Python, which runs when the graph is traced and not when it is called
        batch = {name: rows[number] for name, rows in epoch.items()}
        labels = tf.gather(self._labels, batch["index"])
        images = self._batch(batch, images)
        if size is not None:
            images = self._mixed(images, labels, batch, size)
        loss, logits = self._update(images, labels, batch["weights"], batch["totals"], batch["lr"])
        return loss, logits, moments(logits, labels) if record else tf.zeros((STATISTICS, 0), tf.float64)

    def _batch(self, batch: Mapping[str, Tensor], decoded: Tensor | None) -> Tensor:
        images = tf.gather(self._images, batch["index"]) if decoded is None else decoded
        dtype = self._classifier.dtype
        # bytes lie on the device as they are, in a quarter of the memory of float32, and become floats batch by batch
        images = tf.cast(images, dtype) / 255 if images.dtype == tf.uint8 else tf.cast(images, dtype)
        if "integers" in batch:
            moves = Moves(batch["integers"], batch["factors"])
            images = augment(images, AUGMENTATIONS.get(self._training.augmentation), moves)
        return images

    def _mixed(self, images: Tensor, labels: Tensor, batch: Mapping[str, Tensor], size: Tensor) -> Tensor:
        start, attack = None, self._attack
        if "keys" in batch:
            keys, shape = batch["keys"][:size], self._classifier.image_shape
            start = tf.cast(random_start(OPS, attack.norm, keys, shape, attack.eps), images.dtype)
        members = batch["members"] if self._padded else None

        def perturb(x: Tensor, y: Tensor, start: Tensor | None) -> Tensor:
            return self._pgd(x, y, attack, start)

        return attack_first(OPS, perturb, images, labels, start, size, members)

    def _learn(
        self, images: Tensor, labels: Tensor, weights: Tensor, total: Tensor, lr: Tensor
    ) -> tuple[Tensor, Tensor]:
        with tf.GradientTape() as tape, self._as_rank():
            # logits may be in half precision; the loss and its sum are not
            logits = tf.cast(self._forward(images), images.dtype)
            # of a share's part of the loss; the whole one is the sum over ranks, and so is its gradient
            loss = weighted_sum(logits, labels, tf.cast(weights, images.dtype))[0] / tf.cast(total, images.dtype)
            scaled = loss * tf.cast(self._optimizer.loss_scale, loss.dtype)
        gradients = tape.gradient(scaled, [v.value for v in self._weights.values()])
        self._optimizer.apply(gradients if self._group.size == 1 else summed(gradients), lr)
        if self._differ:
            take_from_first(self._classifier.native)
        return loss, logits

    def _as_rank(self) -> AbstractContextManager[None]:
        if self._group.size == 1:
            return nullcontext()
        synchronised = self._training.batch_norm == "global"
        return as_rank(self._classifier.native, self._group.rank, synchronised=synchronised)

    def losses(self, first: int, last: int) -> np.ndarray:
        # one copy for all, as each waits for the device
        losses = [self._losses[number] for number in range(first, last)]
        return np.asarray(tf.stack(losses)) if losses else np.empty(0)

    def moments(self, first: int, last: int) -> Moments:
        assert self._record, "begin(record=True) comes first"  # noqa: S101
        steps = [self._moments[number] for number in range(first, last)]
        return Moments(*tf.concat(steps, axis=1).numpy())

    def logits(self) -> np.ndarray:
        return to_numpy(self._logits)

    def _in_precision(self, forward: Forward) -> Forward:
        def within(images: Tensor) -> Tensor:
            with precision(self._classifier.native, HALF.get(self._training.precision)):
                return forward(images)

        return within

    def state(self) -> State:
        return self._optimizer.state()

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        self._optimizer.load_state(state)
