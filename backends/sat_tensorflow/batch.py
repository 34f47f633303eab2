"""The batch of a step: gathered, augmented, mixed, and put into the order in which members come first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import final

import numpy as np
import tensorflow as tf
from tensorflow import Tensor

from sat_core.augmentation import AUGMENTATIONS, Moves
from sat_core.data import Examples
from sat_core.images import ImageSource
from sat_core.training_spec import TrainingSpec
from sat_tensorflow.augmentation import augment
from sat_tensorflow.classifier import TensorFlowClassifier
from sat_tensorflow.losses import moments
from sat_tensorflow.mixing import mix
from sat_tensorflow.modes import Forward, frozen

Batch = Mapping[str, Tensor]
"""What a plan says of a step, by the names of `EpochPlan.arrays`, and ``images``, ``labels``, ``targets`` and ``order``
where they are needed."""
PER_EXAMPLE = ("images", "labels", "targets", "weights", "keys")
"""What of a batch has a row for each example, and is divided into parts."""


@final
class Batches:
    """Makes batches of data that lie on the device. To be called while a graph is traced.

    Args:
        classifier: Whose device and type of images they have.
        data: All examples.
        features: Of all examples, in place of images; or None.
        training: Its augmentation and mixing.
        targets: Whether targets `(n, k)` are asked for.
        attacked: Makes the forward by whose margins members are chosen.
    """

    def __init__(
        self,
        classifier: TensorFlowClassifier,
        data: Examples,
        features: np.ndarray | None,
        training: TrainingSpec,
        *,
        targets: bool,
        attacked: Callable[[], Forward],
    ) -> None:
        self._classifier, self._training, self._with_targets = classifier, training, targets
        self._scored = attacked if features is None else lambda: frozen(classifier.head)
        self._mixed = features is None and training.mixing != "none"
        inputs = data.images if features is None else features
        with tf.device(classifier.device):
            self._images = None if isinstance(inputs, ImageSource) else tf.constant(inputs)
            self._labels = tf.constant(data.labels)

    def __call__(self, number: Tensor, epoch: Batch, decoded: Tensor | None, online: str) -> dict[str, Tensor]:
        """Return the batch of a step.

        Args:
            number: Of the step.
            epoch: Arrays of the plan.
            decoded: uint8 `(n, h, w, c)`, where images are decoded on demand.
            online: See `sat_core.epoch_plan.EpochPlan`.
        """
        batch = {name: rows[number] for name, rows in epoch.items()}
        batch["labels"], batch["images"] = tf.gather(self._labels, batch["index"]), self._gathered(batch, decoded)
        if self._with_targets:
            batch["targets"] = tf.one_hot(batch["labels"], self._classifier.classes, dtype=batch["images"].dtype)
        if self._mixed:
            batch["images"], batch["targets"] = mix(batch["images"], batch["targets"], batch)
        if online:
            batch["order"] = order = self._order(batch, online)
            # weights are those of the new order already
            names = [name for name in PER_EXAMPLE if name in batch and name != "weights"]
            batch |= {name: tf.gather(batch[name], order) for name in names}
        return batch

    def _gathered(self, batch: Batch, decoded: Tensor | None) -> Tensor:
        images = tf.gather(self._images, batch["index"]) if decoded is None else decoded
        dtype = self._classifier.dtype
        # bytes lie on the device as they are, in a quarter of the memory of float32, and become floats batch by batch
        images = tf.cast(images, dtype) / 255 if images.dtype == tf.uint8 else tf.cast(images, dtype)
        if "integers" in batch:
            moves = Moves(batch["integers"], batch["factors"])
            images = augment(images, AUGMENTATIONS.get(self._training.augmentation), moves)
        return images

    def _order(self, batch: Batch, online: str) -> Tensor:
        """Return positions in the batch, int64 `(n,)`, those of the lowest score first."""
        margin = moments(self._scored()(batch["images"]), batch["labels"])[3]
        # equal ones stay in their order
        order = tf.argsort(tf.abs(margin) if online == "boundary" else margin, stable=True)
        return tf.cast(order, tf.int64)


def part_of(batch: Batch, k: int, parts: int) -> dict[str, Tensor]:
    """Return part k of a batch that is divided into so many, as `EpochPlan.share` would divide it."""
    part = {name: rows[k::parts] if name in PER_EXAMPLE else rows for name, rows in batch.items()}
    return part | {"members": -((k - batch["members"]) // parts)}
