"""The building block for training loops of one's own, in TensorFlow."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import pytest
from toys import SEEN_ONCE, WRONG_BATCHES, own_network

from sat_core.attack_spec import AttackSpec
from sat_core.backend import Backend
from sat_core.errors import DataError, SpecError
from sat_core.loss_spec import LossSpec
from sat_core.testing import samples

pytestmark = pytest.mark.tensorflow


@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize("random_start", [False, True])
def test_the_building_block_does_the_trainers_step(backend: Backend, in_graph: bool, random_start: bool) -> None:
    import tensorflow as tf

    from sat_tensorflow import SubsetAdversarialStep, with_index

    restarts = 1 + random_start
    data, attack = samples.examples(16), samples.attack(random_start=random_start, restarts=restarts, steps=3)
    split = samples.split(16, 0.4)
    classifier = samples.build(backend, "small-cnn")
    items = with_index(tf.data.Dataset.from_tensor_slices((data.images, data.labels)))
    images, labels, index = next(iter(items.shuffle(16, seed=1).batch(16)))
    (plan,) = samples.plans(16, 0.4, training := samples.training(lr=0.0, batch_size=16, epochs=1), attack)
    model = normalising(classifier)
    step = SubsetAdversarialStep(model, split, attack, np.random.default_rng(0))
    before = classifier.state()

    def once(*tensors: Any) -> tuple[Any, Any]:
        mixed = step.mix(*tensors)
        return mixed, step.loss(model(mixed, training=True), *tensors[1:])

    mixed, loss = (tf.function(once) if in_graph else once)(images, labels, index)
    outside = ~split.members[index.numpy()]
    np.testing.assert_array_equal(mixed.numpy()[outside], images.numpy()[outside])
    assert not np.array_equal(mixed.numpy()[~outside], images.numpy()[~outside])
    after = classifier.state()
    assert all(np.array_equal(after[name], v) for name, v in before.items() if "running" not in name)
    own = split.members[index.numpy()]
    expected = samples.build(backend, "small-cnn").perturb(
        images.numpy()[own], labels.numpy()[own], attack, np.random.default_rng(0)
    )
    np.testing.assert_allclose(mixed.numpy()[own], expected, atol=1e-4)
    if not random_start:
        again = samples.build(backend, "small-cnn")
        (expected_loss,) = backend.trainer(again, data, training, attack).run(plan)
        assert float(loss) == pytest.approx(expected_loss, rel=1e-4)
    no_member = np.flatnonzero(outside)
    rest = (tf.gather(t, no_member) for t in (images, labels, index))
    np.testing.assert_array_equal(step.mix(*rest), images.numpy()[no_member])


def test_the_building_block_takes_other_types_and_models_that_are_not_built(backend: Backend) -> None:
    import tensorflow as tf

    from sat_tensorflow import SubsetAdversarialStep

    data, split = samples.examples(16), samples.split(16, 0.4)
    model = own_network(backend)
    tensors = tf.constant(data.images), tf.constant(data.labels), tf.range(16)
    with pytest.raises(SpecError, match=r"attack\.eps: expected less than"):
        SubsetAdversarialStep(model, split, samples.attack(eps=127)).mix(*tensors)
    with pytest.raises(SpecError, match="pass rng="):
        SubsetAdversarialStep(model, split, AttackSpec(kind="rs-fgsm"))
    mixed, loss = SubsetAdversarialStep(model, split, samples.attack())(*tensors)  # builds the model
    assert mixed.shape == tensors[0].shape
    wide = SubsetAdversarialStep(model, split, AttackSpec(kind="rs-fgsm"), np.random.default_rng(0))
    _, small = wide(tf.cast(tensors[0], tf.float64), tf.cast(tensors[1], tf.uint8), tf.cast(tensors[2], tf.uint8))
    assert np.isfinite(float(small))
    assert np.isfinite(float(loss))


@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize(("name", "wrong", "says"), WRONG_BATCHES)
def test_the_building_block_refuses_a_wrong_batch(
    backend: Backend, name: str, wrong: Any, says: str, in_graph: bool
) -> None:
    import tensorflow as tf

    from sat_tensorflow import SubsetAdversarialStep

    data, attack = samples.examples(16), samples.attack(steps=1)
    batch: dict[str, Any] = {"images": data.images, "labels": data.labels, "index": np.arange(16)}
    model = own_network(backend)
    model.build((None, *samples.SHAPE))
    step = SubsetAdversarialStep(model, samples.split(16, 0.4), attack)
    mix = tf.function(step.mix) if in_graph else step.mix
    error = Exception if in_graph else DataError  # TensorFlow raises its own, with the text of ours
    with pytest.raises(error, match=says):
        mix(**{k: tf.constant(v) for k, v in {**batch, name: wrong(batch[name])}.items()})
    good = {k: tf.constant(v) for k, v in batch.items()}
    mix(**{**good, "labels": tf.cast(good["labels"], tf.uint8), "index": tf.cast(good["index"], tf.int32)})
    if says not in SEEN_ONCE:
        later = {**good, name: tf.constant(wrong(batch[name]))}
        with pytest.raises(error, match=says):
            mix(**later)
        if name != "images":
            with pytest.raises(DataError, match=says):
                step.losses(tf.zeros((16, 5)), later["labels"], later["index"])
    mix(**{**good, "images": good["images"] * 3 - 1})  # values are looked at in the first batch only


def test_the_building_block_names_shapes_that_a_data_set_does_not_know(backend: Backend) -> None:
    import tensorflow as tf

    from sat_tensorflow import SubsetAdversarialStep

    step = SubsetAdversarialStep(own_network(backend), samples.split(16, 0.4), samples.attack())
    for shape in (None, (None, None, None, 3)):
        images = tf.TensorSpec(shape, tf.float32)
        with pytest.raises(Exception, match=r"set them with tf\.ensure_shape"):
            tf.function(step.mix).get_concrete_function(images, *[tf.TensorSpec((None,), tf.int64)] * 2)


@pytest.mark.parametrize("in_graph", [False, True])
def test_the_building_block_has_every_loss_of_the_trainer(backend: Backend, in_graph: bool) -> None:
    import tensorflow as tf

    from sat_tensorflow import SubsetAdversarialStep

    data, attack, split = samples.examples(16), samples.attack(steps=2), samples.split(16, 0.4)
    training = samples.training(lr=0.0, batch_size=16, epochs=1)
    (plan,) = samples.plans(16, 0.4, training, attack)
    tensors = tf.constant(data.images), tf.constant(data.labels), tf.range(16)
    for loss in (LossSpec(label_smoothing=0.2), *(LossSpec(kind=kind) for kind in ("trades", "mart", "alp"))):
        first, second = (samples.build(backend, "small-cnn") for _ in range(2))
        expected = backend.trainer(first, data, training, attack, None, loss)
        if any(loss.betas):
            plan = attrs.evolve(plan, beta=np.full(plan.steps, loss.betas[0]))
        step = SubsetAdversarialStep(normalising(second), split, attack, loss=loss)
        call = step.__call__
        if in_graph:
            specs = [tf.TensorSpec((None, *t.shape[1:]), t.dtype) for t in tensors]
            call = tf.function(call, input_signature=specs)
        assert float(call(*tensors)[1]) == pytest.approx(expected.run(plan)[0], rel=1e-4)
        one, other = (classifier.state()["bn1.running_mean"] for classifier in (first, second))
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5)  # clean images of members went through, too
        if loss.kind != "ce":
            losses = tf.function(step.losses) if in_graph else step.losses
            with pytest.raises(Exception if in_graph else DataError, match="call the step itself"):
                losses(tf.zeros((16, 5)), *tensors[1:])


def test_the_building_block_refuses_what_only_a_training_follows(backend: Backend) -> None:
    from sat_tensorflow import SubsetAdversarialStep

    for attack, loss, says in (
        (AttackSpec(kind="free"), LossSpec(), "attack.kind: expected an attack of its own"),
        (AttackSpec(warmup=2.0), LossSpec(), "attack.warmup: expected 0, got 2.0,"),
        (AttackSpec(), LossSpec(kind="trades", beta=(12.0, 6.0)), r"loss.beta: expected one number, got \[12.0, 6.0\]"),
        (AttackSpec(), LossSpec(class_weights="balanced"), 'loss.class_weights: expected "none"'),
    ):
        with pytest.raises(SpecError, match=says):
            SubsetAdversarialStep(None, samples.split(16, 0.4), attack, loss=loss)  # type: ignore[arg-type]


def normalising(classifier: Any) -> Any:
    """The network of a classifier of samples, with their normalisation in front."""
    import keras

    pixels = keras.Input(samples.SHAPE)
    offset = [-m / s for m, s in zip(samples.MEAN, samples.STD, strict=True)]
    scaled = keras.layers.Rescaling([1 / s for s in samples.STD], offset)(pixels)
    return keras.Model(pixels, classifier.native(scaled))


def test_items_carry_the_number_in_the_full_data_set(backend: Backend) -> None:
    import tensorflow as tf

    from sat_tensorflow import with_index

    pairs = tf.data.Dataset.from_tensor_slices((np.arange(300), np.zeros(300)))
    dicts = pairs.map(lambda x, y: {"image": x, "label": y})
    for x, _, index in with_index(pairs).skip(100).take(100).batch(100):
        assert index.dtype == tf.int64
        np.testing.assert_array_equal(index, x)
    for batch in with_index(dicts).shuffle(300, seed=0).take(100).batch(100):
        assert sorted(batch) == ["image", "index", "label"]
        np.testing.assert_array_equal(batch["index"], batch["image"])
    with pytest.raises(DataError, match='without a key "index"'):
        with_index(with_index(dicts))
    with pytest.raises(DataError, match=r"elements \(image, label\) or dicts, got"):
        with_index(pairs.map(lambda x, y: x))
    shuffled, fixed = pairs.shuffle(300), pairs.shuffle(300, reshuffle_each_iteration=False)
    for data in (shuffled, dicts.shuffle(9, seed=1).prefetch(2), tf.data.Dataset.zip((fixed, shuffled))):
        with pytest.raises(DataError, match="with_index comes before shuffle"):
            with_index(data)
    for data in (fixed, shuffled.cache()):
        once, again = ([int(x) for x, _, _ in with_index(data)] for _ in range(2))
        assert once == again != sorted(once)


def test_micro_batches_add_up_to_the_gradient_of_the_whole_batch(backend: Backend) -> None:
    import tensorflow as tf

    from sat_tensorflow import SubsetAdversarialStep

    data, model = samples.examples(16), samples.build(backend, "small-cnn").native
    step = SubsetAdversarialStep(model, samples.split(16, 0.4), samples.attack(steps=2))
    batch, gradients_of = (tf.constant(data.images), tf.constant(data.labels), tf.range(16)), []
    for parts in ([slice(0, 16)], [slice(0, 3), slice(3, 4), slice(4, 16)]):
        sums, weights = [tf.zeros_like(v) for v in model.trainable_variables], 0.0
        for part in parts:
            images, labels, index = (tensor[part] for tensor in batch)
            mixed = step.mix(images, labels, index)
            with tf.GradientTape() as tape:
                total, weight = step.losses(model(mixed, training=False), labels, index)
            gradients = tape.gradient(total, model.trainable_variables)
            sums = [a + b for a, b in zip(sums, gradients, strict=True)]
            weights += weight
        gradients_of.append([gradient / weights for gradient in sums])
    with tf.GradientTape() as tape:
        loss = step.loss(model(step.mix(*batch), training=False), *batch[1:])
    for whole, *others in zip(tape.gradient(loss, model.trainable_variables), *gradients_of, strict=True):
        for other in others:
            np.testing.assert_allclose(other, whole, rtol=1e-4, atol=1e-6)
    logits = tf.cast(model(batch[0], training=False), tf.bfloat16)
    assert [part.dtype for part in step.losses(logits, *batch[1:])] == [tf.float32] * 2
