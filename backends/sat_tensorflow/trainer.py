"""The training step in TensorFlow, on data that lies on the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, final

import numpy as np
import tensorflow as tf
from tensorflow import Tensor

from sat_core.ascent import padded
from sat_core.attack_spec import AttackSpec
from sat_core.classifier import State
from sat_core.data import Examples
from sat_core.epoch_plan import EpochPlan, check_devices
from sat_core.loss_spec import PLAIN, LossSpec
from sat_core.member_losses import LOSSES
from sat_core.moments import STATISTICS, Moments
from sat_core.precision import FP16_SCALE, check_precision, least_precise
from sat_core.process_group import ALONE, ProcessGroup
from sat_core.state import check_state
from sat_core.trainer import Trainer
from sat_core.training_spec import TrainingSpec
from sat_tensorflow.arrays import to_numpy
from sat_tensorflow.attacked import Attacked
from sat_tensorflow.attacks import PGD
from sat_tensorflow.averaging import Average
from sat_tensorflow.batch import Batch, Batches, part_of
from sat_tensorflow.classifier import TensorFlowClassifier
from sat_tensorflow.distributed import strategy_of, summed, take_from_first
from sat_tensorflow.learning import NAMES, Learning
from sat_tensorflow.losses import moments
from sat_tensorflow.members import Members, Replayed
from sat_tensorflow.modes import Forward, precision
from sat_tensorflow.optimizer import Optimizer

HALF = {"bf16": "mixed_bfloat16", "fp16": "mixed_float16"}


@final
class TensorFlowTrainer(Trainer):
    """See `sat_core.trainer.Trainer`. `training.compile` has attack and step compiled by XLA.

    A step is one graph, unless its batch is trained on in parts or several times. Several ranks run what follows the
    attack under one strategy, as a graph of its own: ranks with members of A and ranks without have different graphs
    around it.
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
        self._classifier, self._training, self._attack, self._group = classifier, training, attack, group
        self._traces = 0
        weights = least_precise(v.dtype for v in classifier.native.trainable_weights)
        check_precision(training.precision, weights, classifier.precision)
        attacked = Attacked(classifier, training).weights
        self._pgd = PGD(
            attacked,
            xla=training.compile,
            gradient_scale=FP16_SCALE if training.precision == "fp16" else 1.0,
        )
        self._pairs = LOSSES.get(loss.kind).pairs
        # XLA compiles for each number of images, and cuDNN chooses an algorithm for each; the training forward of pairs
        # has another number in every step anyhow
        self._padded = (training.compile or "GPU" in classifier.device) and not self._pairs
        self._members = Members(self._pgd, attack, classifier.image_shape, padded=self._padded)
        with tf.device(classifier.device):
            learning = {id(v) for v in (classifier.head or classifier.native).trainable_variables}
            self._weights = {name: v for name, v in classifier.variables().items() if id(v) in learning}
            self._optimizer = Optimizer(self._weights, training)
            # what does not learn has no average: that would be off by rounding
            averaged = classifier.variables() if classifier.head is None else self._weights
            self._average = Average(averaged) if training.averaging != "none" else None
            shape = (training.batch_size, *classifier.image_shape)
            self._replayed = Replayed(attack, shape, classifier.dtype) if attack.free else None
        forward = self._in_precision(classifier.train if features is None else classifier.head)
        self._learning = Learning(classifier, forward, self._weights, training, loss, group, attack.free)
        # statistics of which each rank would have its own; those of our networks are the same, if they are of all ranks
        ours = bool(classifier.description) and training.batch_norm == "global"
        self._differ = group.size > 1 and classifier.head is None and not ours
        self._parts, self._once = training.micro_batches, training.micro_batches == attack.replays == 1
        targets = not loss.plain or training.mixing != "none"
        batches = Batches(classifier, data, features, training, targets=targets, attacked=attacked)
        # One graph, whose inner ones are those that ranks run together or that XLA compiles; or several, which the host
        # calls one after the other, so that the memory of a part is free before the next.
        within = self._unchanged if self._once else self._traced
        self._prepare, self._part = within(batches), within(self._train)
        self._graph = self._traced(self._compute) if self._once else self._compute
        self._update, self._learn = self._together(self._updated), self._together(self._learned)
        self._apply = self._together(self._applied)

    @staticmethod
    def _unchanged(body: Callable[..., Any]) -> Callable[..., Any]:
        return body

    @staticmethod
    def _traced(body: Callable[..., Any]) -> Callable[..., Any]:
        graph: Callable[..., Any] = tf.function(body, autograph=False)
        return graph

    def _together(self, body: Callable[..., Any]) -> Callable[..., Any]:
        """Return the graph of what all ranks do together, and XLA compiles."""
        run = body
        if self._group.size > 1:
            strategy = strategy_of(self._group, "GPU" in self._classifier.device)
            run = lambda *arguments: strategy.run(body, arguments)  # noqa: E731
        graph: Callable[..., Any] = tf.function(run, autograph=False, jit_compile=self._training.compile or None)
        return graph

    def begin(self, plan: EpochPlan, *, record: bool = False) -> None:
        self._plan, self._record = plan, record
        self._losses: dict[int, Tensor] = {}
        self._moments: dict[int, Tensor] = {}
        self._orders: dict[int, Tensor] = {}
        with tf.device(self._classifier.device):
            self._epoch = {name: tf.constant(array) for name, array in plan.arrays().items()}

    def step(self, number: int, images: np.ndarray | None = None) -> None:
        members, parts, batch = int(self._plan.members[number]), self._parts, self._plan.batch_size
        with tf.device(self._classifier.device):
            decoded = None if images is None else tf.constant(images)
            # whether anything is attacked is known here: two graphs are made at most, and none has a branch
            sizes = [self._size(-((k - members) // parts), batch // parts) for k in range(parts)]
            arguments = tf.constant(number), sizes, self._epoch, decoded
            outputs = self._graph(*arguments, record=self._record, online=self._plan.online)
        # tensors on the device: to read one would make the CPU wait for the GPU, and the next step begin later
        self._losses[number], self._logits, self._moments[number], self._orders[number] = outputs

    def _size(self, members: int, batch: int) -> Tensor | None:
        """Return how many images of a part of so many are attacked; None for none."""
        size = padded(members, batch) if self._padded else members
        return tf.constant(size) if size and not self._attack.free else None

    @property
    def traces(self) -> int:
        """Number of graphs that were made, of attack and step."""
        return self._pgd.traces + self._traces

    def _compute(
        self,
        number: Tensor,
        sizes: list[Tensor | None],
        epoch: Batch,
        images: Tensor | None,
        *,
        record: bool,
        online: str,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Make a step, with so many images of each part attacked; returns its loss, logits, statistics and order."""
        batch = self._prepare(number, epoch, images, online)
        first = {name: rows for name, rows in batch.items() if name != "decay"}  # weights are averaged once per batch
        for left in reversed(range(self._attack.replays)):
            of_replay = first if left else batch
            loss, logits = self._part(of_replay, sizes[0]) if self._parts == 1 else self._in_parts(batch, sizes)
        statistics = moments(logits, batch["labels"]) if record else tf.zeros((STATISTICS, 0), tf.float64)
        return loss, logits, statistics, batch.get("order", tf.zeros(0, tf.int64))

    def _in_parts(self, batch: Batch, sizes: list[Tensor | None]) -> tuple[Tensor, Tensor]:
        """Train on the parts of a batch, one after the other, and make one step of the weights."""
        losses, logits = [], []
        sums: list[Tensor | None] = []
        for k, size in enumerate(sizes):
            loss, some, gradients = self._part(part_of(batch, k, len(sizes)), size)
            losses.append(loss)
            logits.append(some)
            sums = [b if a is None else a + b for a, b in zip(sums or [None] * len(gradients), gradients, strict=True)]
        self._apply(sums, {name: batch[name] for name in ("lr", "decay") if name in batch})
        # part k has every row k, k + K, …
        return tf.add_n(losses), tf.reshape(tf.stack(logits, axis=1), (-1, self._classifier.classes))

    def _train(self, batch: Batch, size: Tensor | None) -> tuple[Any, ...]:
        """Attack a batch or a part of one, and train on it; returns loss and logits, and of a part its gradients."""
        self._traces += 1  # this is Python, which runs when the graph is traced and not when it is called
        images = batch["images"]
        if self._replayed is not None:
            images = self._replayed(batch)
        elif size is not None:
            # all ranks have one graph of what they do together, so it is of one shape
            images = tf.ensure_shape(self._members(batch, size), images.shape)
        if self._pairs:
            # also without members, for the same reason
            images = tf.concat([images, batch["images"][: batch["members"]]], axis=0)
        # ranks do not know of each other's members
        awp = self._training.awp > 0 and (size is not None or self._group.size > 1)
        needed = {name: batch[name] for name in NAMES if name in batch}
        if self._parts > 1:
            learned: tuple[Any, ...] = self._learn(needed, images, awp)
            return learned
        scale = tf.identity(self._optimizer.loss_scale)  # that of now, which the step may change
        loss, logits, of_images = self._update(needed, images, awp)
        if self._replayed is not None:
            self._replayed.move(batch, of_images[0], scale)
        return loss, logits

    def _updated(self, batch: Batch, images: Tensor, awp: bool) -> tuple[Tensor, Tensor, list[Tensor]]:
        loss, logits, gradients, of_images = self._learning(batch, images, self._optimizer.loss_scale, awp)
        self._applied(gradients, batch)
        return loss, logits, of_images

    def _learned(self, batch: Batch, images: Tensor, awp: bool) -> tuple[Tensor, Tensor, list[Tensor | None]]:
        loss, logits, gradients, _ = self._learning(batch, images, self._optimizer.loss_scale, awp)
        # dense, as they leave the graph and are added up
        return loss, logits, [None if g is None else tf.convert_to_tensor(g) for g in gradients]

    def _applied(self, gradients: list[Tensor | None], batch: Batch) -> None:
        """Make the step of the weights, and of their average."""
        self._optimizer.apply(gradients if self._group.size == 1 else summed(gradients), batch["lr"])
        if self._differ:
            take_from_first(self._classifier.native)
        if self._average is not None and "decay" in batch:
            self._average.update(batch["decay"])

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

    def order(self, first: int, last: int) -> np.ndarray:
        return np.asarray(tf.stack([self._orders[number] for number in range(first, last)]))

    def _in_precision(self, forward: Forward) -> Forward:
        def within(images: Tensor) -> Tensor:
            with precision(self._classifier.native, HALF.get(self._training.precision)):
                return forward(images)

        return within

    def averaged(self) -> AbstractContextManager[None]:
        return nullcontext() if self._average is None else self._average.inside()

    def state(self) -> State:
        return self._optimizer.state() | self._kept()

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        like = self._kept()
        kept = {name: value for name, value in state.items() if name in like}
        check_state(like, kept, "optimiser")
        self._optimizer.load_state({name: value for name, value in state.items() if name not in like})
        for part in (self._average, self._replayed):
            if part is not None:
                part.load_state(kept)

    def _kept(self) -> State:
        """Return what is kept from step to step beside the optimiser."""
        average = {} if self._average is None else self._average.state()
        return average | ({} if self._replayed is None else self._replayed.state())
