"""The SAT step as a building block, for people with a training loop and a tf.data pipeline of their own."""

from __future__ import annotations

from functools import partial
from typing import final

import keras
import numpy as np
import tensorflow as tf
from tensorflow import Tensor

from sat_core.data import check_range
from sat_core.errors import DataError, SpecError, type_name
from sat_core.spec import AttackSpec
from sat_core.splits import Split
from sat_core.threat import THREAT_MODELS
from sat_tensorflow.attacks import PGD
from sat_tensorflow.losses import weighted_sum
from sat_tensorflow.modes import frozen


@final
class SubsetAdversarialStep:
    """Makes adversarial examples for members of A in a batch, and weighs the loss.

    model: images `(n, h, w, c)` in [0, 1] to logits, normalising inside. The attack runs in evaluation mode and leaves
    weights and statistics as they were. rng: draws the random start, if the attack has one. Works eagerly and inside
    of a tf.function, but for one that is compiled by XLA: the number of members is not known to it.

    In all calls images are `(n, h, w, c)`, labels integers `(n,)`, index int64 `(n,)` the numbers of the examples in
    the split. Raises SpecError, DataError, and inside of a tf.function InvalidArgumentError.
    """

    def __init__(
        self, model: keras.Model, split: Split, attack: AttackSpec, rng: np.random.Generator | None = None
    ) -> None:
        if attack.random_start and rng is None:
            raise SpecError("the attack has a random start; pass rng=numpy.random.default_rng(seed)")
        self.model, self.split, self.attack, self.rng = model, split, attack, rng
        self._members = tf.constant(split.members)
        self._weights = tf.constant(split.example_weights(np.arange(len(split.members))))
        self._pgd = PGD(lambda: frozen(model))
        self._checked = False

    def __call__(self, images: Tensor, labels: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """The mixed batch and its loss Σ w·ℓ / Σ w, to be called under a tf.GradientTape; the forward is in training
        mode.
        """
        mixed = self.mix(images, labels, index)
        return mixed, self.loss(self.model(mixed, training=True), labels, index)

    def mix(self, images: Tensor, labels: Tensor, index: Tensor) -> Tensor:
        """`images` with adversarial examples in place of the members of A."""
        self._check(images, labels)
        if not self.model.built:
            with tf.init_scope():
                self.model(tf.zeros((1, *images.shape[1:]), images.dtype))
        members = tf.where(tf.gather(self._members, index))
        attacked = tf.cond(tf.size(members) > 0, lambda: self._attacked(images, labels, members), lambda: images)
        return tf.stop_gradient(attacked)

    def _attacked(self, images: Tensor, labels: Tensor, members: Tensor) -> Tensor:
        x, y = tf.gather_nd(images, members), tf.cast(tf.gather_nd(labels, members), tf.int64)
        start = None
        if self.rng is not None and self.attack.random_start:
            draw = partial(THREAT_MODELS.get(self.attack.norm).random_start, self.rng)
            start = tf.numpy_function(lambda shape: draw(tuple(shape), self.attack.eps), [tf.shape(x)], tf.float32)
            start = tf.cast(tf.ensure_shape(start, x.shape), x.dtype)
        return tf.tensor_scatter_nd_update(images, members, self._pgd(x, y, self.attack, start))

    def loss(self, logits: Tensor, labels: Tensor, index: Tensor) -> Tensor:
        """Σ w·ℓ / Σ w over the batch, with the weights of the split."""
        total, weight = self.losses(logits, labels, index)
        return total / weight

    def losses(self, logits: Tensor, labels: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Σ w·ℓ and Σ w over the batch apart, at least in float32, for a batch that is made of several parts.

        The loss of the whole batch is the sum of all Σ w·ℓ over the sum of all Σ w; the mean of the parts' own losses
        is another number. Micro-batches: add up the gradients of each Σ w·ℓ, then divide them by the sum of all Σ w.
        A tf.distribute.Strategy adds gradients over its replicas: `all_reduce` Σ w with ReduceOp.SUM, then take the
        gradient of Σ w·ℓ / Σ w.
        """
        wide = logits if logits.dtype == tf.float64 else tf.cast(logits, tf.float32)
        weights = tf.cast(tf.gather(self._weights, tf.cast(index, tf.int64)), wide.dtype)
        return weighted_sum(wide, tf.cast(labels, tf.int64), weights)

    def _check(self, images: Tensor, labels: Tensor) -> None:
        """Of the pixels, eagerly on the first batch only; a graph has the check in it."""
        if len(images.shape) != 4 or None in images.shape[1:] or len(labels.shape) != 1:
            raise DataError(
                f"expected images (n, h, w, c) and labels (n,), got shapes {images.shape} and {labels.shape}\n"
                "reshape, or where a data set does not know them, tf.ensure_shape"
            )
        self.attack.check_images(tuple(images.shape[1:]))
        low, high = tf.reduce_min(images), tf.reduce_max(images)
        if not tf.executing_eagerly():
            says = "images: expected pixels in [0, 1]; normalise inside the model, not before"
            tf.debugging.Assert(tf.logical_and(low >= 0, high <= 1), [says, low, high])
        elif not self._checked:
            check_range(float(low), float(high))
            self._checked = True


def with_index(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """A data set whose elements carry their number, int64: (image, label) becomes (image, label, index), and a dict
    gets a key "index".

    It is the place in `dataset`, from 0: call it on the full data set that the split is over, before skip, take,
    filter, shuffle or batch. Raises DataError for other elements, and for a dict that has an "index".
    """
    spec = dataset.element_spec
    if isinstance(spec, dict):
        if "index" in spec:
            raise DataError(
                'with_index: expected dicts without a key "index"; rename it, or use it if it is the number'
            )
        return dataset.enumerate().map(lambda index, items: {**items, "index": index})
    if not isinstance(spec, tuple):
        raise DataError(f"with_index: expected elements (image, label) or dicts, got {type_name(spec)}")
    return dataset.enumerate().map(lambda index, items: (*items, index))
