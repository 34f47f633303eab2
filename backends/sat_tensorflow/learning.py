"""Loss and gradients of the mixed batch of a step, in training mode."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import final

import attrs
import keras
import tensorflow as tf
from tensorflow import Tensor

from sat_core.loss_spec import LossSpec
from sat_core.member_losses import example_losses
from sat_core.process_group import ProcessGroup
from sat_core.training_spec import TrainingSpec
from sat_tensorflow.classifier import TensorFlowClassifier
from sat_tensorflow.distributed import as_rank, summed
from sat_tensorflow.losses import weighted_sum
from sat_tensorflow.modes import Forward
from sat_tensorflow.ops import OPS

NAMES = ("labels", "targets", "weights", "totals", "members", "beta", "lr", "decay")
"""What a step of the weights reads of a batch, apart from its images."""
Gradients = list["Tensor | None"]
"""Of the weights that learn, in their order; None where the loss does not depend on one."""


@final
@attrs.frozen(eq=False)
class Learning:
    """Computes Σ w·ℓ / Σ w of a mixed batch and its gradients.

    Args:
        classifier: Whose weights learn.
        forward: Images to logits in training mode.
        weights: That learn, by canonical name.
        training, loss: Settings.
        group: All ranks; what is traced here is run by a strategy if there are several.
        images: Whether gradients over the images are asked for, too.
    """

    classifier: TensorFlowClassifier
    forward: Forward
    weights: Mapping[str, keras.Variable]
    training: TrainingSpec
    loss: LossSpec
    group: ProcessGroup
    images: bool

    def __call__(
        self, batch: Mapping[str, Tensor], images: Tensor, scale: Tensor, awp: bool
    ) -> tuple[Tensor, Tensor, Gradients, list[Tensor]]:
        """Return loss, logits `(n, k)`, and gradients of the scaled loss over weights and images.

        Args:
            batch: ``labels`` or ``targets``, ``weights``, ``totals``, and what the loss needs of `NAMES`.
            images: The mixed batch; for a loss with pairs, clean images of the members follow.
            scale: Factor of the loss before its gradient is taken.
            awp: Whether weights are moved against the members' loss first.
        """
        if not awp:
            return self._pass(batch, images, scale)
        with self._perturbed(batch, images, scale):
            return self._pass(batch, images, scale)

    def _pass(
        self, batch: Mapping[str, Tensor], images: Tensor, scale: Tensor
    ) -> tuple[Tensor, Tensor, Gradients, list[Tensor]]:
        with tf.GradientTape() as tape, self._as_rank():
            if self.images:
                tape.watch(images)
            # logits may be in half precision; the loss and its sum are not
            logits = tf.cast(self.forward(images), images.dtype)
            # of a share's part of the loss; the whole one is the sum over ranks, and so is its gradient
            loss = self._weighted_sum(batch, logits) / tf.cast(batch["totals"], images.dtype)
            scaled = loss * tf.cast(scale, loss.dtype)
        variables = [v.value for v in self.weights.values()]
        gradients, of_images = tape.gradient(scaled, [variables, [images] if self.images else []])
        return loss, logits[: batch["weights"].shape[0]], gradients, of_images

    def _weighted_sum(self, batch: Mapping[str, Tensor], logits: Tensor) -> Tensor:
        weights = tf.cast(batch["weights"], logits.dtype)
        if "targets" not in batch:
            return weighted_sum(logits, batch["labels"], weights)[0]
        smooth, beta = self.loss.label_smoothing, tf.cast(batch.get("beta", 0.0), logits.dtype)
        targets = (1 - smooth) * batch["targets"] + smooth / self.classifier.classes
        losses = example_losses(OPS, self.loss.kind, logits, targets, batch["members"], beta)
        return tf.reduce_sum(weights * losses)

    @contextmanager
    def _perturbed(self, batch: Mapping[str, Tensor], images: Tensor, scale: Tensor) -> Iterator[None]:
        """Inside, weights are moved against the members' part of the loss (Wu et al. 2020, Eqs. 9 and 10)."""
        moved = [v for v in self.weights.values() if len(v.shape) > 1]
        # what a forward in training mode moves, and how far draws of layers have come: only the second pass counts
        kept = [] if self.classifier.head else self.classifier.native.non_trainable_variables
        before, statistics = ([tf.identity(v.value) for v in which] for which in (moved, kept))
        n = batch["weights"].shape[0]
        is_member = tf.range(n, dtype=tf.int64) < batch["members"]
        weights = tf.where(is_member, batch["weights"], tf.zeros_like(batch["weights"]))
        gradients = self._pass({**batch, "weights": weights}, images, scale)[2]
        if self.group.size > 1:
            gradients = summed(gradients)
        _assign(kept, statistics)
        by_weight = {id(v): g for v, g in zip(self.weights.values(), gradients, strict=True) if g is not None}
        for v, value in zip(moved, before, strict=True):
            if id(v) in by_weight:
                v.assign(value + self._push(value, tf.convert_to_tensor(by_weight[id(v)])))
        yield
        _assign(moved, before)

    def _push(self, weight: Tensor, gradient: Tensor) -> Tensor:
        """Return γ·‖w‖·g/‖g‖, or 0 where g is 0 or, in float16, has overflowed."""
        wide = gradient if gradient.dtype == tf.float64 else tf.cast(gradient, tf.float32)
        size, length = tf.norm(wide), tf.norm(tf.cast(weight, wide.dtype))
        good = tf.math.is_finite(size) & (size > 0)
        factor = tf.where(good, self.training.awp * length / tf.where(good, size, 1), 0)
        return tf.cast(tf.where(good, factor * wide, tf.zeros_like(wide)), weight.dtype)

    def _as_rank(self) -> AbstractContextManager[None]:
        if self.group.size == 1:
            return nullcontext()
        synchronised = self.training.batch_norm == "global"
        return as_rank(self.classifier.native, self.group.rank, synchronised=synchronised)


def _assign(variables: list[keras.Variable], values: list[Tensor]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
