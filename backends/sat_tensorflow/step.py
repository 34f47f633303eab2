"""The SAT step as a building block, for people with a training loop and a tf.data pipeline of their own."""

from __future__ import annotations

from typing import final

import keras
import numpy as np
import tensorflow as tf
from tensorflow import Tensor

from sat_core.arrays import check_batch
from sat_core.attack_spec import AttackSpec
from sat_core.errors import DataError, type_name
from sat_core.loss_spec import PLAIN, LossSpec
from sat_core.precision import FP16_SCALE
from sat_core.splits import Split
from sat_core.step import TOGETHER, AdversarialStep
from sat_tensorflow.attacks import PGD
from sat_tensorflow.losses import weighted_sum
from sat_tensorflow.modes import frozen
from sat_tensorflow.ops import OPS


@final
class SubsetAdversarialStep(AdversarialStep):
    """Makes adversarial examples for members of A in a batch, and weighs the loss.

    The attack runs in evaluation mode and leaves weights and statistics as they were. Works eagerly and inside of a
    tf.function, but for one that is compiled by XLA: the number of members is not known to it.

    In all calls images are floats `(n, h, w, c)`, labels integers `(n,)`, index integers `(n,)` the numbers of the
    examples in the split. Types and shapes are checked in every batch, pixels and numbers in the first, as reading
    them stalls a GPU.

    Args:
        model: images `(n, h, w, c)` in [0, 1] to logits, normalising inside.
        split: which examples are in A, and their weights.
        attack: how they are attacked.
        rng: draws the random start, if the attack has one.
        loss: what is minimised; see `sat_core.step.AdversarialStep`.

    Raises:
        SpecError: for an attack with a random start and no `rng`, or that is too strong for the images, or settings
            that need the epochs of a training.
        DataError: for batches that do not fit; inside of a tf.function TensorFlow's own errors of the same text.
    """

    layout = "n, h, w, c"
    backend = OPS.backend

    def __init__(
        self,
        model: keras.Model,
        split: Split,
        attack: AttackSpec,
        rng: np.random.Generator | None = None,
        loss: LossSpec = PLAIN,
    ) -> None:
        super().__init__(model, split, attack, rng, loss)
        self._members = tf.constant(split.members)
        self._weights = tf.constant(split.example_weights(np.arange(len(split.members))))
        halves = any(layer.compute_dtype == "float16" for layer in model._flatten_layers())
        self._pgd = PGD(lambda: frozen(model), gradient_scale=FP16_SCALE if halves else 1.0)
        self._checked = tf.Variable(
            False,  # read and set by each replica of a tf.distribute.Strategy on its own
            trainable=False,
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )

    def __call__(self, images: Tensor, labels: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mixed batch and its loss Σ w·ℓ / Σ w; call it under a tf.GradientTape.

        The forward runs in training mode.
        """
        mixed = self.mix(images, labels, index)
        return mixed, self.loss(self.forward(mixed, images, index), labels, index)

    def forward(self, mixed: Tensor, images: Tensor, index: Tensor) -> Tensor:
        """Return the logits of what `mix` made of `images`, in training mode, for `loss` and `losses`.

        For a loss with `pairs`, those of the members' clean images follow.
        """
        if self._kind.pairs:
            # in one forward, as the statistics of BatchNorm are of clean and adversarial images together
            clean = tf.cast(tf.gather(images, self._rows(index)), mixed.dtype)
            mixed = tf.concat([mixed, clean], axis=0)
        return self.model(mixed, training=True)

    def mix(self, images: Tensor, labels: Tensor, index: Tensor) -> Tensor:
        """Return `images` with adversarial examples in place of the members of A; float32, whatever the network is."""
        images, labels, index = (tf.convert_to_tensor(tensor) for tensor in (images, labels, index))
        with tf.control_dependencies([self._check(images, labels, index)]):
            index = tf.identity(tf.cast(index, tf.int64))  # so that nothing is gathered before the check
        images = images if images.dtype == tf.float64 else tf.cast(images, tf.float32)
        if not self.model.built:
            # lifted out of a caller's tf.function, to whose graph the weights must not belong
            with tf.init_scope():
                self.model(tf.zeros((1, *images.shape[1:]), images.dtype))
        members = tf.where(tf.gather(self._members, index))
        # without a member of A this is a plain step (recipe, section 3, step 1)
        attacked = tf.cond(tf.size(members) > 0, lambda: self._attacked(images, labels, members), lambda: images)
        # constants for the caller's tape, which must not go back through the steps of the attack
        return tf.stop_gradient(attacked)

    def _attacked(self, images: Tensor, labels: Tensor, members: Tensor) -> Tensor:
        x, y = tf.gather_nd(images, members), tf.cast(tf.gather_nd(labels, members), tf.int64)
        starts = [self._start(x) for _ in range(self.attack.restarts)]
        return tf.tensor_scatter_nd_update(images, members, self._pgd.strongest(x, y, self.attack, starts))

    def _start(self, x: Tensor) -> Tensor | None:
        if not self.attack.random_start:
            return None
        # called when the graph runs; drawn while it is traced, the start would be the same in every batch
        start = tf.numpy_function(lambda shape: self._random_start(tuple(shape)), [tf.shape(x)], tf.float32)
        return tf.cast(tf.ensure_shape(start, x.shape), x.dtype)

    def _rows(self, index: Tensor) -> Tensor:
        """Return the places of the members in the batch, int64 `(m,)`."""
        return tf.where(tf.gather(self._members, tf.cast(index, tf.int64)))[:, 0]

    def members_in(self, index: Tensor) -> Tensor:
        """Return how many of the examples are members of A."""
        return tf.size(self._rows(index))

    def losses(self, logits: Tensor, labels: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return Σ w·ℓ and Σ w over the batch apart, at least in float32, for a batch that is made of several parts.

        The loss of the whole batch is the sum of all Σ w·ℓ over the sum of all Σ w; the mean of the parts' own losses
        is another number. Micro-batches: add up the gradients of each Σ w·ℓ, then divide them by the sum of all Σ w.
        A tf.distribute.Strategy adds gradients over its replicas: `all_reduce` Σ w with ReduceOp.SUM, then take the
        gradient of Σ w·ℓ / Σ w.
        """
        labels, index = tf.convert_to_tensor(labels), tf.convert_to_tensor(index)
        _check_static_shape(labels, index)
        check_batch(labels, index)
        wide = logits if logits.dtype == tf.float64 else tf.cast(logits, tf.float32)
        weights = tf.cast(tf.gather(self._weights, tf.cast(index, tf.int64)), wide.dtype)
        if self.loss_spec.plain:
            return weighted_sum(wide, tf.cast(labels, tf.int64), weights)
        rows, n = self._rows(index), tf.shape(labels)[0]
        with tf.control_dependencies(self._checks_of_logits(tf.shape(wide)[0], n, tf.size(rows))):
            targets = tf.one_hot(labels, wide.shape[1], dtype=wide.dtype)
        losses = self._losses(OPS, wide, targets, n, rows)
        return tf.reduce_sum(weights * losses), tf.reduce_sum(weights)

    def _checks_of_logits(self, rows: Tensor, n: Tensor, members: Tensor) -> list[Tensor]:
        if tf.executing_eagerly():
            self._check_logits(int(rows), int(n), int(members))
            return []
        expected = n + members if self._kind.pairs else n
        return [
            tf.debugging.Assert(tf.equal(rows, expected), [f"logits: expected other rows{TOGETHER}", expected, rows])
        ]

    def _check(self, images: Tensor, labels: Tensor, index: Tensor) -> Tensor:
        _check_static_shape(images, labels, index)
        self._check_shapes(images, labels, index)
        done = tf.logical_or(self._checked, tf.equal(tf.size(images), 0))
        return tf.cond(done, lambda: True, lambda: self._look(images, index))

    def _look(self, images: Tensor, index: Tensor) -> Tensor:
        low, high = tf.reduce_min(images), tf.reduce_max(images)
        first, last, total = tf.reduce_min(index), tf.reduce_max(index), self._members.shape[0]
        checks = []
        if tf.executing_eagerly():
            self._check_values(float(low), float(high), int(first), int(last))
        else:
            pixels = "images: expected pixels in [0, 1]; normalise inside the model, not before"
            numbers = f"index: expected numbers of the {total} examples of the split, 0..{total - 1}"
            # in a graph values are not known yet, so that only TensorFlow itself can check them, with its own error
            checks.append(tf.debugging.Assert(tf.logical_and(low >= 0, high <= 1), [pixels, low, high]))
            checks.append(tf.debugging.Assert(tf.logical_and(first >= 0, last < total), [numbers, first, last]))
        with tf.control_dependencies(checks):
            self._checked.assign(True)
        return True


def _check_static_shape(*tensors: Tensor) -> None:
    for tensor in tensors:
        if tensor.shape.rank is None or None in tensor.shape[1:]:
            raise DataError(
                "batch: expected images (n, h, w, c), labels (n,) and index (n,) with h, w and c known, "
                f"got shape {tensor.shape}\nset them with tf.ensure_shape"
            )


def with_index(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Return a data set whose elements carry their number, int64.

    (image, label) becomes (image, label, index), and a dict gets a key "index". The number is the place in `dataset`,
    from 0: call this on the full data set that the split is over, before skip, take, filter, shuffle or batch.

    The steps that `dataset` is made of are looked through for a shuffle that differs from epoch to epoch, and nothing
    is read: an order that a generator or another library changes is not seen.

    Raises:
        DataError: for other elements, for a dict that has an "index", and after a shuffle.
    """
    spec = dataset.element_spec
    if _reshuffles(dataset):
        raise DataError(
            "with_index: expected the same order in each epoch, got a data set that is shuffled anew\n"
            "with_index comes before shuffle: with_index(dataset).shuffle(n)"
        )
    if isinstance(spec, dict):
        if "index" in spec:
            raise DataError(
                'with_index: expected dicts without a key "index"; rename it, or use it if it is the number'
            )
        return dataset.enumerate().map(lambda index, items: {**items, "index": index})
    if not isinstance(spec, tuple):
        raise DataError(f"with_index: expected elements (image, label) or dicts, got {type_name(spec)}")
    return dataset.enumerate().map(lambda index, items: (*items, index))


def _reshuffles(dataset: tf.data.Dataset) -> bool:
    """Return whether a data set, or one that it is made of, is in another order each time; a cache keeps the first."""
    if getattr(dataset, "_reshuffle_each_iteration", False):
        return True
    if dataset.__class__.__name__ == "CacheDataset":
        return False
    return any(_reshuffles(each) for each in dataset._inputs())
