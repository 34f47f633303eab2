"""The training step in TensorFlow, on data that lies on the device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, final

import numpy as np
import tensorflow as tf
from tensorflow import Tensor

from sat_core.ascent import Members, attack_members
from sat_core.augmentation import AUGMENTATIONS
from sat_core.batches import BatchPlan
from sat_core.classifier import State
from sat_core.data import Examples
from sat_core.images import ImageSource
from sat_core.precision import FP16_SCALE, check_precision, least_precise
from sat_core.sections import AttackSpec, TrainingSpec
from sat_core.trainer import OnBatch, StepResult, Trainer
from sat_tensorflow.arrays import to_numpy
from sat_tensorflow.attacked import Attacked
from sat_tensorflow.attacks import PGD
from sat_tensorflow.augmentation import augment
from sat_tensorflow.classifier import TensorFlowClassifier
from sat_tensorflow.losses import weighted_loss
from sat_tensorflow.modes import Forward, precision
from sat_tensorflow.ops import OPS
from sat_tensorflow.optimizer import Optimizer

HALF = {"bf16": "mixed_bfloat16", "fp16": "mixed_float16"}


@final
class TensorFlowTrainer(Trainer):
    """See `sat_core.trainer.Trainer`. `training.compile` has attack and step compiled by XLA."""

    def __init__(
        self,
        classifier: TensorFlowClassifier,
        data: Examples,
        training: TrainingSpec,
        attack: AttackSpec,
        features: np.ndarray | None = None,
    ) -> None:
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
        with tf.device(classifier.device):
            self._images = None if isinstance(inputs, ImageSource) else tf.constant(inputs)
            self._labels = tf.constant(data.labels)
            learning = {id(v) for v in (classifier.head or classifier.native).trainable_variables}
            self._weights = {name: v for name, v in classifier.variables().items() if id(v) in learning}
            self._optimizer = Optimizer(self._weights, training)
            # traced at once, so that weights and optimiser have to be there
            self._update = self._graph(inputs.shape[1:])

    def run(self, batches: Iterable[BatchPlan], on_batch: OnBatch) -> None:
        for plan in batches:
            with tf.device(self._classifier.device):
                images, labels = self._batch(plan)
                images = self._attacked(images, labels, plan)
                loss, logits = self._update(images, labels, tf.constant(plan.weights), tf.constant(plan.lr, tf.float64))
            # neither is read here: that would make the CPU wait for the GPU, and the next step begin later
            on_batch(plan, StepResult(lambda loss=loss: float(loss), lambda logits=logits: to_numpy(logits)))  # type: ignore[misc]

    @property
    def traces(self) -> int:
        """Number of graphs that were made, of attack and step."""
        return self._pgd.traces + self._traces

    def _graph(self, shape: tuple[int, ...]) -> Any:
        dtype = self._classifier.dtype
        specs = (((None, *shape), dtype), ((None,), tf.int64), ((None,), tf.float32), ((), tf.float64))
        signature = [tf.TensorSpec(*spec) for spec in specs]
        graph = tf.function(self._step, signature, autograph=False, jit_compile=self._training.compile or None)
        return graph.get_concrete_function()

    def _batch(self, plan: BatchPlan) -> tuple[Tensor, Tensor]:
        labels = tf.gather(self._labels, plan.index)
        images = tf.gather(self._images, plan.index) if plan.images is None else tf.constant(plan.images)
        dtype = self._classifier.dtype
        # bytes lie on the device as they are, in a quarter of the memory of float32, and become floats batch by batch
        images = tf.cast(images, dtype) / 255 if images.dtype == tf.uint8 else tf.cast(images, dtype)
        images = augment(images, AUGMENTATIONS.get(self._training.augmentation), plan.draws)
        return images, labels

    def _attacked(self, images: Tensor, labels: Tensor, plan: BatchPlan) -> Tensor:
        members = Members.of(plan.members, plan.start, padded=self._training.compile)

        def perturb(x: Tensor, y: Tensor, start: Tensor | None) -> Tensor:
            return self._pgd(x, y, self._attack, start)

        return attack_members(OPS, perturb, images, labels, members)

    def _step(self, images: Tensor, labels: Tensor, weights: Tensor, lr: Tensor) -> tuple[Tensor, Tensor]:
        self._traces += 1  # this is Python, which runs when the graph is traced and not when it is called
        with tf.GradientTape() as tape:
            # logits may be in half precision; the loss and its sum are not
            logits = tf.cast(self._forward(images), images.dtype)
            loss = weighted_loss(logits, labels, tf.cast(weights, images.dtype))
            scaled = loss * tf.cast(self._optimizer.loss_scale, loss.dtype)
        self._optimizer.apply(tape.gradient(scaled, [v.value for v in self._weights.values()]), lr)
        return loss, logits

    def _in_precision(self, forward: Forward) -> Forward:
        def within(images: Tensor) -> Tensor:
            with precision(self._classifier.native, HALF.get(self._training.precision)):
                return forward(images)

        return within

    def state(self) -> State:
        return self._optimizer.state()

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        self._optimizer.load_state(state)
