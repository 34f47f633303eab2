"""`keras.Model.fit` with adversarial examples for members of A."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from toys import own_network

from sat_core.attack_spec import AttackSpec
from sat_core.backend import Backend
from sat_core.errors import DataError, SpecError
from sat_core.loss_spec import LossSpec
from sat_core.testing import samples

pytestmark = pytest.mark.tensorflow

DATA, SPLIT, ATTACK = samples.examples(40), samples.split(40, 0.4), samples.attack(steps=2)


@pytest.fixture(autouse=True)
def first(backend: Backend) -> None:
    """Import the backend before Keras."""


def network(dtype: str = "float32") -> Any:
    """With BatchNorm, and no dropout, whose draws differ from graph to graph."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    rows = (
        layers.Conv2D(4, 3, use_bias=False, dtype=dtype),
        layers.BatchNormalization(dtype=dtype),
        layers.ReLU(dtype=dtype),
    )
    inputs = keras.Input(samples.SHAPE, dtype=dtype if dtype == "float64" else "float32")
    head = layers.Dense(5, dtype=dtype, kernel_regularizer="l2")
    return keras.Sequential([inputs, *rows, layers.Flatten(dtype=dtype), head])


def adversarial(model: Any, attack: AttackSpec = ATTACK, loss: LossSpec | None = None, **compiled: Any) -> Any:
    import keras

    from sat_tensorflow import SubsetAdversarialModel

    made = SubsetAdversarialModel(model, SPLIT, attack, loss=loss or LossSpec())
    made.compile(keras.optimizers.SGD(0.05, momentum=0.9), **compiled)
    return made


def batches(size: int = 16, dtype: str = "float32") -> Any:
    """Batches with numbers, in another order than the numbers'."""
    import tensorflow as tf

    from sat_tensorflow import with_index

    pairs = tf.data.Dataset.from_tensor_slices((DATA.images.astype(dtype), DATA.labels))
    return with_index(pairs).shuffle(40, seed=1, reshuffle_each_iteration=False).batch(size)


def by_hand(dtype: str) -> list[np.ndarray]:
    """Weights and statistics after two epochs of a loop of one's own."""
    import keras
    import tensorflow as tf

    from sat_tensorflow import SubsetAdversarialStep

    model, optimizer = network(dtype), keras.optimizers.SGD(0.05, momentum=0.9)
    step = SubsetAdversarialStep(model, SPLIT, ATTACK)
    for _ in range(2):
        for images, labels, index in batches(dtype=dtype):
            mixed = step.mix(images, labels, index)
            with tf.GradientTape() as tape:
                loss = step.loss(model(mixed, training=True), labels, index) + sum(model.losses)
            optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
    return model.get_weights()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_fit_makes_the_steps_of_an_own_loop(dtype: str) -> None:
    expected, start = by_hand(dtype), network(dtype).get_weights()
    for options in ({}, {"run_eagerly": True}, {"steps_per_execution": 2}):
        model = adversarial(network(dtype), metrics=["accuracy"], **options)
        history = model.fit(batches(dtype=dtype), epochs=2, verbose=0).history
        assert history["attacked"] == [SPLIT.size] * 2
        for one, other, before in zip(model.network.get_weights(), expected, start, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-6 if dtype == "float64" else 1e-4)
            assert np.abs(one - before).max() > 1e-3


def test_only_members_are_attacked_and_statistics_move_once_a_step() -> None:
    import keras
    import tensorflow as tf

    from sat_tensorflow import SubsetAdversarialStep

    class Counting(keras.layers.Layer):
        """Counts the images of forwards in evaluation mode, which are those of the attack."""

        rows = 0

        def call(self, images: Any, training: bool = False) -> Any:
            if training:
                return images
            with tf.control_dependencies([tf.numpy_function(self.count, [tf.shape(images)[0]], [])]):
                return tf.identity(images)

        def count(self, rows: int) -> None:
            self.rows += int(rows)

    norm = keras.layers.BatchNormalization(momentum=0.5)
    counting = Counting()
    rest = (keras.layers.Flatten(), keras.layers.Dense(5))
    model = adversarial(keras.Sequential([counting, norm, *rest]), run_eagerly=True)
    model(DATA.images[:1])
    counting.rows = 0
    model.fit(batches(7), verbose=0)
    assert counting.rows == ATTACK.steps * SPLIT.size
    for variable, value in zip(norm.weights, (1.0, 0.0, 0.0, 1.0), strict=True):
        variable.assign(np.full(3, value))
    (whole,) = batches(40)
    mixed = SubsetAdversarialStep(model.network, SPLIT, ATTACK).mix(*whole).numpy()
    model.fit(batches(40), verbose=0)
    np.testing.assert_allclose(norm.moving_mean.numpy(), mixed.mean((0, 1, 2)) / 2, rtol=1e-4)


def test_arrays_are_shuffled_with_their_numbers() -> None:
    """A split over arrays is that of the same numbers in a data set, also where validation takes the last of them."""
    weights = []
    for shuffled in (False, True):
        model = adversarial(network())
        history = model.fit(DATA.images, DATA.labels, 40, 2, shuffle=shuffled, verbose=0).history
        assert history["attacked"] == [SPLIT.size] * 2
        weights.append(model.network.get_weights())
    expected = adversarial(network())
    expected.fit(batches(40), epochs=2, verbose=0)
    for values in weights:
        for one, other in zip(values, expected.network.get_weights(), strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-4)
    history = adversarial(network()).fit(DATA.images, DATA.labels, validation_split=0.5, verbose=0).history
    assert history["attacked"] == [SPLIT.members[:20].sum()]
    assert sorted(history) == ["attacked", "loss", "val_loss"]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of h5py, by Keras
def test_fit_reports_validation_on_clean_images_and_calls_back(tmp_path: Path) -> None:
    import keras

    class Logs(keras.callbacks.Callback):
        seen: tuple[list[int], list[str]] = ([], [])

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.seen[0].append(batch)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.seen[1].extend(logs)

    model, best = adversarial(network(), metrics=["accuracy"]), tmp_path / "best.keras"
    callbacks = [Logs(), keras.callbacks.ModelCheckpoint(best), keras.callbacks.EarlyStopping("val_loss")]
    x, y = DATA.images[:20], DATA.labels[:20]
    history = model.fit(batches(), validation_data=(x, y), callbacks=callbacks, verbose=0).history
    assert Logs.seen == ([0, 1, 2], ["accuracy", "attacked", "loss", "val_accuracy", "val_loss"])
    alone = keras.models.load_model(best)  # the network, which needs nothing of ours
    assert type(alone) is keras.Sequential
    logits = alone.predict(x, verbose=0)
    np.testing.assert_allclose(model.predict(x, verbose=0), logits, atol=1e-5)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = -log_p[np.arange(20), y].mean() + float(sum(alone.losses))
    assert history["val_loss"] == [pytest.approx(expected, rel=1e-4)]
    assert history["val_accuracy"] == [pytest.approx((logits.argmax(axis=1) == y).mean())]
    assert model.evaluate(batches(), verbose=0, return_dict=True).keys() == {"accuracy", "loss"}  # with an index


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_weights_are_saved_with_the_optimizer(tmp_path: Path) -> None:
    first, second = adversarial(network()), adversarial(network())
    first.fit(batches(), epochs=1, verbose=0)
    first.save_weights(tmp_path / "half.weights.h5")
    first.fit(batches(), epochs=1, verbose=0)
    second.load_weights(tmp_path / "half.weights.h5")
    second.fit(batches(), epochs=1, verbose=0)
    for one, other in zip(first.network.get_weights(), second.network.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-4)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_fit_trains_in_mixed_precision(policy: str) -> None:
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = adversarial(network(policy), metrics=["accuracy"])
    finally:
        keras.config.set_dtype_policy(before)
    start = model.network.get_weights()
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer) == (policy == "mixed_float16")
    assert model.network(DATA.images).dtype == policy.removeprefix("mixed_")
    history = model.fit(batches(), epochs=8, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert all(value.dtype == np.float32 for value in start)
    assert not np.array_equal(start[0], model.network.get_weights()[0])


def test_fit_has_the_losses_and_attacks_of_the_step(backend: Backend) -> None:
    import keras

    from sat_tensorflow import SubsetAdversarialModel

    for attack, loss in ((AttackSpec(loss="kl", steps=2), LossSpec(kind="trades")), (AttackSpec(kind="rs-fgsm"), None)):
        model = SubsetAdversarialModel(
            own_network(backend), SPLIT, attack, np.random.default_rng(0), loss or LossSpec()
        )
        model.compile(keras.optimizers.Adam(0.01), metrics=["accuracy"])
        history = model.fit(batches(), epochs=6, verbose=0).history
        assert history["loss"][-1] < history["loss"][0]
        assert history["attacked"] == [SPLIT.size] * 6


@pytest.mark.parametrize("eagerly", [False, True])
def test_wrong_use_is_one_clear_line(eagerly: bool) -> None:
    import tensorflow as tf

    plain = tf.data.Dataset.from_tensor_slices((DATA.images, DATA.labels)).batch(40)
    wrong = (
        (plain, r"expected batches \(images, labels, index\), got 2 of them"),
        ((batch for batch in plain), r"expected batches \(images, labels, index\), got 2 of them"),
        (plain.map(lambda x, y: {"image": x, "label": y}), r"\(images, labels, index\), got dict"),
        (batches(40).map(lambda x, y, i: (x, tf.one_hot(y, 5), i)), "labels: expected integers, got float32"),
        (
            batches(40).map(lambda x, y, i: (x, y, i + 1)),
            r"index: expected numbers of the 40 .*, got 1\.\.40\nmake the split",
        ),
        (batches(40).map(lambda x, y, i: (x, y, i - 1)), r"index: expected numbers of the 40 .*, got -1\.\.38"),
        (batches(40).map(lambda x, y, i: (2 * x - 1, y, i)), "images: expected pixels in"),
    )
    for data, says in wrong:
        with pytest.raises(DataError, match=says.replace(", got ", "[,;] got ")) as caught:
            adversarial(network(), run_eagerly=eagerly).fit(data, verbose=0)
        assert str(caught.value).count("\n") <= 1


def test_wrong_numbers_that_come_later_are_one_clear_line() -> None:
    import tensorflow as tf

    model = adversarial(network())
    for wrong, says in (
        (
            lambda x, y, i: (x, y, i + 20),
            "index: expected less than 40, as the split has so many, got .*\n.*with_index before repeat",
        ),
        (lambda x, y, i: (x, y + 5, i), "labels: expected less than 5, got "),
    ):
        with pytest.raises(DataError, match=says):
            model.fit(batches().take(1).concatenate(batches().map(wrong)), verbose=0)
    # which operation finds a wrong label first differs from run to run
    with pytest.raises(DataError, match="labels: expected less than 5, got 8"):
        model.fit(batches().map(lambda *batch: _failing(tf, batch, "indices[3] = 8 is not in [0, 5)")), verbose=0)
    for own in ("of the user", "indices[3] = 8 is not in [0, 7)"):
        with pytest.raises(tf.errors.InvalidArgumentError, match=re.escape(own)):
            model.fit(batches().map(lambda *batch, own=own: _failing(tf, batch, own)), verbose=0)


def _failing(tf: Any, batch: Any, says: str) -> Any:
    with tf.control_dependencies([tf.debugging.Assert(False, [says])]):
        return tf.identity(batch[0]), *batch[1:]


def test_what_fit_cannot_do_is_refused() -> None:
    x, y, model = DATA.images, DATA.labels, adversarial(network())
    for call, error, says in (
        (lambda: model.compile("sgd", loss="mse"), SpecError, "compile: expected no loss, got 'mse'"),
        (lambda: model.compile("sgd", jit_compile=True), SpecError, "compile: expected jit_compile=False"),
        (
            lambda: model.fit(x, y, sample_weight=np.ones(40)),
            DataError,
            "fit: expected no sample_weight; the weights of A and B are those of the split",
        ),
        (lambda: model.fit(x, y, class_weight={0: 2.0}), DataError, "fit: expected no class_weight; the weights of A"),
        (lambda: adversarial(lambda images: images), SpecError, "network: expected a keras.Model, got function"),
        (lambda: model.fit(x[:30], y[:30]), DataError, "fit: expected the 40 examples of the split, got 30 images"),
        (lambda: model.evaluate(x, y, sample_weight=np.ones(40), verbose=0), DataError, "expected no sample weights"),
    ):
        with pytest.raises(error, match=says):
            call()
    model._distribute_strategy = SimpleNamespace(num_replicas_in_sync=2)  # as Keras has it under a tf.distribute scope
    with pytest.raises(SpecError, match="fit: expected one replica, got 2"):
        model.fit(batches(), verbose=0)
