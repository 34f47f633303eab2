"""The SAT step inside of `keras.Model.fit`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import keras
import numpy as np
import tensorflow as tf
from tensorflow import Tensor

from sat_core.attack_spec import AttackSpec
from sat_core.errors import DataError, SpecError, type_name
from sat_core.loss_spec import PLAIN, LossSpec
from sat_core.splits import Split
from sat_tensorflow.step import SubsetAdversarialStep

_NUMBERS = "make the split over the same data set that the numbers count, and put with_index before repeat"
_INDEX = f"index: expected less than {{1}}, as the split has so many, got {{0}}\n{_NUMBERS}"
_LABELS = "labels: expected less than {1}, got {0}"
_CHECKS = {
    r"assertion failed: \[(images: .+?)\] \[([^\]]*)\] \[([^\]]*)\]": "{}; got {}..{}",
    r"assertion failed: \[(index: .+?)\] \[([^\]]*)\] \[([^\]]*)\]": f"{{}}; got {{}}..{{}}\n{_NUMBERS}",
    r"indices\[.*?\] = (-?\d+) is not in \[0, (\d+)\)": "",
    r"label value of (-?\d+) which is outside the valid range of \[0, (\d+)\)": _LABELS,
}
"""What TensorFlow says of a batch where a graph computes with it, and what we say of it; of rows that are gathered, it
depends on how many there are.
"""


@final
class SubsetAdversarialModel(keras.Model):
    """A user's network that `fit` trains with adversarial examples for members of A.

    `fit` takes a `tf.data.Dataset` of batches (images, labels, index), see `with_index`, or arrays of images and labels
    of all examples in the order of the split. Each step is that of `SubsetAdversarialStep`: members of A are attacked
    in evaluation mode, and the loss is Σ w·ℓ / Σ w, plus what the layers add, such as weight decay by a regulariser.
    `fit` reports this loss, the metrics of `compile` on the mixed batches, and ``attacked``, the number of images that
    were attacked in the epoch. Validation is on clean images with the plain cross-entropy.

    Weights are those of the network, which is trained in place. `save` writes the network alone, which loads without
    sat-core; `save_weights` and `load_weights` keep the optimizer, too.

    Args:
        network: images `(n, h, w, c)` in [0, 1] to logits, normalising inside.
        split: which examples are in A, and their weights.
        attack: how they are attacked.
        rng: draws the random start, if the attack has one.
        loss: what is minimised; see `sat_core.step.AdversarialStep`.

    Raises:
        SpecError: for another network, and settings that `SubsetAdversarialStep` refuses.
    """

    def __init__(
        self,
        network: keras.Model,
        split: Split,
        attack: AttackSpec,
        rng: np.random.Generator | None = None,
        loss: LossSpec = PLAIN,
    ) -> None:
        if not isinstance(network, keras.Model):
            raise SpecError(f"network: expected a keras.Model, got {type_name(network)}")
        # the network's policy has Keras scale the loss of float16
        super().__init__(name=f"subset_adversarial_{network.name}", dtype=network.dtype_policy)
        self.network = network
        self.step = SubsetAdversarialStep(network, split, attack, rng, loss)
        self.attacked = keras.metrics.Sum(name="attacked")
        self.supports_jit = False  # the number of members is not known to XLA
        self.built = network.built
        self._classes = 0  # until a step is traced

    def call(self, images: Tensor, training: bool | None = None) -> Tensor:
        """Return the logits of the network."""
        return self.network(images, training=training)

    def compile(self, optimizer: Any = "rmsprop", *, metrics: Any = None, **options: Any) -> None:
        """Set optimizer and metrics; see `keras.Model.compile`.

        Raises:
            SpecError: for a loss, or XLA.
        """
        if options.get("loss") is not None:
            raise SpecError(f"compile: expected no loss, got {options['loss']!r}; it is that of SubsetAdversarialModel")
        if options.get("jit_compile", "auto") not in ("auto", False, None):
            raise SpecError("compile: expected jit_compile=False; the number of members in a batch is not known to XLA")
        super().compile(optimizer, metrics=metrics, **options)

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        *arguments: Any,
        sample_weight: Any = None,
        class_weight: Any = None,
        **options: Any,
    ) -> Any:
        """Train; see `keras.Model.fit`.

        Args:
            x: batches (images, labels, index); or images of all examples of the split, whose labels are `y`.
            y: integers `(n,)`.
            arguments: as in Keras, from `batch_size` on.
            sample_weight, class_weight: not taken, as the weights are those of the split.
            options: as in Keras.

        Raises:
            DataError: for batches that do not fit.
        """
        for name, given in (("sample_weight", sample_weight), ("class_weight", class_weight)):
            if given is not None:
                raise DataError(f"fit: expected no {name}; the weights of A and B are those of the split")
        if (replicas := self.distribute_strategy.num_replicas_in_sync) > 1:
            raise SpecError(f"fit: expected one replica, got {replicas}; docs/own-loop.md shows a loop for several")
        if isinstance(x, tf.data.Dataset):
            _parts(x.element_spec)
        if y is None:
            options.setdefault("shuffle", False)  # or Keras warns that it leaves the order to the data set
        else:
            if len(x) != len(self.step.split.members):
                raise DataError(
                    f"fit: expected the {len(self.step.split.members)} examples of the split, got {len(x)} images\n"
                    "make the split over the same data set, or fit a tf.data.Dataset that carries numbers (with_index)"
                )
            # the way for a third array, which Keras shuffles and batches with the others
            sample_weight = np.arange(len(x))
        with self._in_one_line():
            return super().fit(x, y, *arguments, sample_weight=sample_weight, **options)

    def train_step(self, data: Any) -> dict[str, Any]:
        """Make a step on a batch (images, labels, index) and return the metrics."""
        images, labels, index = _parts(data)
        mixed, size = self.step.mix(images, labels, index), tf.shape(labels)[0]
        with tf.control_dependencies([mixed]):
            index = tf.identity(index)  # so that what the check says comes before errors of other operations
        self.built = True  # by the step, where the network was not; or Keras saves no weights
        with tf.GradientTape() as tape:
            logits = self.step.forward(mixed, images, index)
            self._classes = logits.shape[1]
            loss = self._with_regularisers(self.step.loss(logits, labels, index))
            scaled = self.optimizer.scale_loss(loss)
        variables = self.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(scaled, variables), variables, strict=True))
        self._loss_tracker.update_state(loss, sample_weight=size)
        self.attacked.update_state(self.step.members_in(index))
        return self.compute_metrics(mixed, labels, logits[:size])

    def test_step(self, data: Any) -> dict[str, Any]:
        """Measure clean images of a batch (images, labels), or one with an index that is not used."""
        images, labels = _clean(data)
        logits = self.network(images, training=False)
        losses = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        loss = self._with_regularisers(tf.reduce_mean(losses))
        self._loss_tracker.update_state(loss, sample_weight=tf.shape(labels)[0])
        scores = self.compute_metrics(images, labels, logits)
        return {name: value for name, value in scores.items() if name != self.attacked.name}

    def save(self, filepath: str | Path, *arguments: Any, **options: Any) -> None:
        """Write the network to a `.keras` file, without this class around it; see `keras.Model.save`."""
        self.network.save(filepath, *arguments, **options)

    def load_weights(self, filepath: str | Path, *arguments: Any, **options: Any) -> None:
        """Read the weights that `save_weights` wrote, after `compile` with the optimizer's state."""
        if self.compiled and self.network.built:
            self.optimizer.build(self.trainable_variables)  # or Keras reads no state into it, and only warns
        super().load_weights(filepath, *arguments, **options)

    @contextmanager
    def _in_one_line(self) -> Iterator[None]:
        """Raise what TensorFlow finds wrong with a batch inside of a graph as our own error, without its many lines."""
        try:
            yield
        except tf.errors.InvalidArgumentError as error:
            # Which operation fails first differs from run to run: a loss, or a gather of rows by index or labels.
            # What a layer of the user's gathers has other numbers of rows, and is none of ours.
            gathered = {len(self.step.split.members): _INDEX, self._classes: _LABELS}
            for pattern, says in _CHECKS.items():
                if found := re.search(pattern, str(error)):
                    words = says or gathered.get(int(found[2]))
                    if words:
                        raise DataError(words.format(*found.groups())) from None
            raise

    def _with_regularisers(self, loss: Tensor) -> Tensor:
        return tf.add_n([loss, *(tf.cast(tf.reduce_sum(own), loss.dtype) for own in self.network.losses)])


def _parts(batch: Any) -> tuple[Any, Any, Any]:
    """Return images, labels and index of a batch or its description; raise DataError if there are no such three."""
    if isinstance(batch, tuple | list) and len(batch) == 3 and not any(part is None for part in batch):
        return tuple(batch)
    got = f"{len(batch)} of them" if isinstance(batch, tuple | list) else type_name(batch)
    raise DataError(
        f"fit: expected batches (images, labels, index), got {got}\n"
        "number the examples before they are shuffled: fit(with_index(dataset).shuffle(n).batch(m))"
    )


def _clean(batch: Any) -> tuple[Any, Any]:
    """Return images and labels of a batch of validation data."""
    if not isinstance(batch, tuple | list) or len(batch) < 2:
        raise DataError(f"evaluate: expected batches (images, labels), got {type_name(batch)}")
    if len(batch) > 2 and batch[2] is not None and not batch[2].dtype.is_integer:
        raise DataError("evaluate: expected no sample weights; validation is a plain mean")
    return batch[0], batch[1]
