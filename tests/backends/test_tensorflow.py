"""The TensorFlow backend beyond what every backend does: graphs, layers, wrapped models, the building block."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from toys import SEEN_ONCE, WRONG_BATCHES

from sat_core.augmentation import AUGMENTATIONS
from sat_core.backend import Backend
from sat_core.errors import DataError, SpecError
from sat_core.reference import augment as oracle_augment
from sat_core.sections import AttackSpec
from sat_core.testing import samples
from sat_core.testing.parity import IMAGE_SHAPES

pytestmark = pytest.mark.tensorflow


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"KERAS_BACKEND": "jax"}, "KERAS_BACKEND: expected tensorflow, got 'jax'"),
        ({"KERAS_BACKEND": "torch"}, "KERAS_BACKEND: expected tensorflow, got 'torch'"),
        ({}, ""),
    ],
)
def test_keras_runs_on_tensorflow_or_says_so_and_imports_are_quiet(environment: dict[str, str], says: str) -> None:
    code = "from sat_core import SatError, get_backend\ntry: get_backend('tensorflow')\nexcept SatError as e: print(e)"
    own = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"} | environment
    done = subprocess.run([sys.executable, "-c", code], env=own, capture_output=True, text=True, check=True)
    assert says in done.stdout
    assert len(done.stdout.splitlines()) == bool(says)
    assert done.stderr == ""


def test_pytorchs_compiler_can_be_loaded_after_the_backend() -> None:
    code = "import sat_tensorflow, torch, importlib.util as u\nif u.find_spec('triton'): import triton._C.libtriton"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_graphs_are_made_once_however_many_are_attacked(backend: Backend, share: float) -> None:
    data, attack = samples.examples(96), samples.attack(steps=2)
    training = samples.training(batch_size=16, epochs=3, augmentation="cifar")
    plans = samples.plans(len(data), share, training, attack)
    classifier = samples.build(backend, "small-cnn")
    trainer = backend.trainer(classifier, data, training, attack)
    trainer.run(plans, lambda *_: None)
    assert trainer.traces == 2  # type: ignore[attr-defined]
    assert len({int(plan.members.sum()) for plan in plans}) > 1
    for n in (1, 7, 24):
        for eps, steps in ((0.1, 1), (0.8, 3)):
            classifier.perturb(data.images[:n], data.labels[:n], samples.attack(eps=eps, steps=steps))
    assert classifier._pgd.traces == 1  # type: ignore[attr-defined]


def test_compiled_attacks_are_padded_to_sixteenths_of_the_batch(backend: Backend) -> None:
    import tensorflow as tf

    from sat_tensorflow.attacks import attack_members

    data, shapes = samples.examples(16), []
    x, y = tf.constant(data.images), tf.constant(data.labels)
    classifier = samples.build(backend, "small-cnn")

    def pgd(images: Any, *arguments: Any) -> Any:
        shapes.append(len(images))
        return classifier._pgd(images, *arguments)  # type: ignore[attr-defined]

    for members in (1, 5, 16):
        places = tf.range(members, dtype=tf.int64)
        start = tf.random.stateless_normal((members, *samples.SHAPE), (0, 1)) * 0.01
        plain, padded = (
            attack_members(pgd, x, y, places, samples.attack(), start, pad_to=pad)  # type: ignore[arg-type]
            for pad in (1, 8)
        )
        np.testing.assert_allclose(plain, padded, atol=1e-3)
        np.testing.assert_array_equal(padded[members:], x[members:])
    assert shapes == [1, 8, 5, 8, 16, 16]


@pytest.mark.parametrize(("model", "head"), [*((model, False) for model in IMAGE_SHAPES), ("small-cnn", True)])
def test_folded_networks_are_the_same_function(backend: Backend, model: str, head: bool) -> None:
    import tensorflow as tf

    classifier: Any = samples.build(backend, model, shape=IMAGE_SHAPES[model])
    classifier = classifier.with_head(7) if head else classifier
    x, found, before = tf.constant(samples.examples(3, shape=IMAGE_SHAPES[model]).images), [], classifier.state()
    off: list[float] = []

    @tf.function
    def both(x: Any) -> Any:
        made = []
        for forward in (classifier.taken(), classifier.forward):
            with tf.GradientTape() as tape:
                tape.watch(x)
                logits = forward(x)
                made += [logits, tape.gradient(tf.reduce_sum(logits * logits), x)]
        return made

    for _ in range(2):
        logits, slope, expected, expected_slope = both(x)
        found.append(logits)
        assert tf.norm(logits - expected) <= 1e-4 * tf.norm(expected)
        off += [float(tf.norm(a - b) / tf.norm(b)) for a, b in zip(slope, expected_slope, strict=True)]
        if not found[1:]:
            assert all(np.array_equal(value, before[name]) for name, value in classifier.state().items())
            classifier.load_state({name: value * np.float32(1.1) for name, value in before.items()})
    assert not np.array_equal(found[0], found[1])  # the weights of then, not those of the first time
    # a value that is rounded to the other side of a ReLU's corner has another gradient, on some of the images
    assert min(off) < 1e-4
    assert max(off) < 0.2


class Counts:
    """How many images a network was called with, in training and otherwise, as the graph runs."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def network(self) -> Any:
        import keras
        import tensorflow as tf

        def count(x: np.ndarray) -> np.ndarray:
            self.seen.append(len(x))
            return x

        @tf.custom_gradient
        def counted(x: Any) -> Any:
            return tf.ensure_shape(tf.numpy_function(count, [x], x.dtype), x.shape), lambda dy: dy

        inputs = keras.Input(samples.SHAPE)
        x = keras.layers.Lambda(counted, output_shape=samples.SHAPE)(inputs)
        return keras.Model(inputs, keras.layers.Dense(5)(keras.layers.Flatten()(x)))


def test_only_members_are_attacked_and_cost_follows_them(backend: Backend) -> None:
    data, attack = samples.examples(16), samples.attack(steps=3)
    training = samples.training(batch_size=16, epochs=1)
    for share, members in ((0.0, 0), (0.25, 4), (1.0, 16)):
        counts = Counts()
        classifier = backend.wrap(counts.network(), classes=5, image_shape=samples.SHAPE)
        counts.seen.clear()
        plans = samples.plans(16, share, training, attack)
        backend.trainer(classifier, data, training, attack).run(plans, lambda *_: None)
        assert counts.seen == [members] * (3 if members else 0) + [16]


def own_network() -> Any:
    import keras
    from keras import layers

    convolution = (layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU())
    return keras.Sequential([*convolution, layers.Flatten(), layers.Dropout(0.5), layers.Dense(5)])


def test_a_users_model_is_wrapped_and_left_as_it_was(backend: Backend) -> None:
    model, data = own_network(), samples.examples()
    model.layers[0].trainable = False
    classifier = backend.wrap(model, classes=5, image_shape=samples.SHAPE, mean=samples.MEAN, std=samples.STD)
    assert classifier.native is model
    before = classifier.state()
    first, again = classifier.logits(data.images), classifier.logits(data.images)
    np.testing.assert_array_equal(first, again)  # no dropout, no batch statistics
    adversarial = classifier.perturb(data.images, data.labels, samples.attack())
    losses = [classifier.loss_gradient(images, data.labels)[1] for images in (data.images, adversarial)]
    assert (losses[1] > losses[0]).any()
    after = classifier.state()
    assert all(np.array_equal(after[name], value) for name, value in before.items())
    assert [layer.trainable for layer in model.layers] == [False] + [True] * 5
    attack, training = samples.attack(), samples.training(batch_size=24)
    backend.trainer(classifier, data, training, attack).run(samples.plans(24, 0.5, training, attack), lambda *_: None)
    changed = [name for name, value in classifier.state().items() if not np.array_equal(value, before[name])]
    assert not {"0.weight", "1.bias"} & {*changed}  # frozen by the user
    assert {"2.weight", "4.running_mean", "7.weight"} <= {*changed}
    assert any("seed" in name for name in changed)  # dropout goes on where it stopped


def test_the_same_network_made_twice_has_the_same_names(backend: Backend) -> None:
    one, two = (backend.wrap(own_network(), classes=5, image_shape=samples.SHAPE) for _ in range(2))
    assert one.state().keys() == two.state().keys()
    two.load_state(one.state())
    data = samples.examples()
    np.testing.assert_array_equal(one.logits(data.images), two.logits(data.images))
    last = one.features(data.images) @ one.state()["7.weight"].T + one.state()["8.bias"]
    np.testing.assert_allclose(last, one.logits(data.images), atol=1e-4)


def subclassed(kind: str) -> Any:
    """Models that are written as a `call`."""
    import keras
    from keras import layers

    class Noisy(layers.Layer):  # type: ignore[misc]
        """In training mode unless it is told otherwise."""

        def __init__(self) -> None:
            super().__init__()
            self.dropout = layers.Dropout(0.5)

        def call(self, x: Any, training: bool = True) -> Any:
            return self.dropout(x, training=training)

    class Plain(keras.Model):  # type: ignore[misc]
        """Its `call` knows nothing of modes."""

        def __init__(self) -> None:
            super().__init__()
            self.convolution = layers.Conv2D(3, 3, padding="same", activation="relu")
            self.noise = Noisy() if kind == "noisy" else layers.Identity()
            self.flat, self.last = layers.Flatten(), layers.Dense(5)
            self.gate = layers.Dense(5, activation="softmax")  # declared last, called first

        def call(self, x: Any) -> Any:
            x = self.noise(self.convolution(x) + x)
            return self.last(self.flat(x) * self.gate(self.flat(x))[:, :1])

    return Plain()


@pytest.mark.parametrize("kind", ["plain", "noisy"])
@pytest.mark.parametrize("precision", ["float32", "bf16", "fp16"])
def test_models_written_as_a_call_run_in_the_right_mode_and_type(backend: Backend, kind: str, precision: str) -> None:
    import tensorflow as tf

    model, data = subclassed(kind), samples.examples()
    classifier = backend.wrap(model, classes=5, image_shape=samples.SHAPE)
    logits = classifier.logits(data.images)
    np.testing.assert_allclose(logits, model(tf.constant(data.images), training=False), atol=1e-5)
    before = classifier.state()
    training, attack = samples.training(batch_size=24, epochs=1, precision=precision), samples.attack()
    backend.trainer(classifier, data, training, attack).run(samples.plans(24, 0.5, training, attack), lambda *_: None)
    assert any(not np.array_equal(value, before[name]) for name, value in classifier.state().items())
    features = classifier.features(data.images)
    weight, bias = (v.numpy() for v in model.last.variables)
    np.testing.assert_allclose(features @ weight + bias, classifier.logits(data.images), atol=1e-4)


def test_features_are_found_in_nested_models(backend: Backend) -> None:
    import keras
    from keras import layers

    head = keras.Sequential([layers.Flatten(), layers.Dense(16), layers.Dense(5)])
    nested = keras.Sequential([keras.Input(samples.SHAPE), layers.Rescaling(2.0), head])
    classifier = backend.wrap(nested, classes=5, image_shape=samples.SHAPE)
    assert classifier.features(samples.examples(6).images).shape == (6, 16)


def test_models_that_do_not_fit_are_refused(backend: Backend) -> None:
    import keras
    from keras import layers

    options: dict[str, Any] = {"classes": 5, "image_shape": samples.SHAPE}
    flat = layers.Flatten()
    classifier, data = backend.wrap(own_network(), **options), samples.examples()
    with pytest.raises(SpecError, match=r"training\.precision: .* build yours with dtype=\"float64\""):
        backend.trainer(classifier, data, samples.training(precision="float64"), samples.attack())
    decayed = keras.Sequential([flat, layers.Dense(5, kernel_regularizer="l2")])
    with pytest.raises(SpecError, match=r"take training\.weight_decay"):
        backend.trainer(backend.wrap(decayed, **options), data, samples.training(), samples.attack())


def test_torch_modules_of_unusual_models(backend: Backend) -> None:
    import keras
    import torch
    from keras import layers

    options: dict[str, Any] = {"classes": 5, "image_shape": samples.SHAPE}
    data = samples.examples(4)
    loop = keras.Sequential([keras.Input(samples.SHAPE), layers.Reshape((8, 24)), layers.LSTM(4), layers.Dense(5)])
    half = keras.Sequential([keras.Input(samples.SHAPE), layers.Flatten(), layers.Dense(5, dtype="mixed_float16")])
    flat = keras.Sequential(
        [
            keras.Input(samples.SHAPE),
            layers.Lambda(lambda x: keras.ops.round(x) + 0 * x),
            layers.Flatten(),
            layers.Dense(5),
        ]
    )
    waits = keras.Sequential(
        [keras.Input(samples.SHAPE), layers.Conv2D(4, 3, activation="swish"), layers.Lambda(keras.ops.square)]
    )
    waits = keras.Sequential([waits, layers.Flatten(), layers.Dense(5)])
    for model in (loop, half, flat, waits):
        classifier = backend.wrap(model, **options)
        x = torch.from_numpy(data.images.transpose(0, 3, 1, 2).astype(np.float64)).requires_grad_()
        loss = torch.nn.functional.cross_entropy(
            classifier.as_torch_module()(x), torch.from_numpy(data.labels), reduction="sum"
        )
        (gradient,) = torch.autograd.grad(loss, x)
        if model is flat:
            assert not gradient.any()
        else:
            _, _, expected = classifier.loss_gradient(data.images, data.labels)
            np.testing.assert_allclose(gradient.numpy().transpose(0, 2, 3, 1), expected, atol=1e-3)


def test_no_images_have_no_gradients(backend: Backend) -> None:
    classifier, none = samples.build(backend, "small-cnn"), samples.examples(1)
    found = classifier.loss_gradient(none.images[:0], none.labels[:0], "targeted-dlr", none.labels[:0])
    assert [part.shape for part in found] == [(0, 5), (0,), (0, *samples.SHAPE)]


def test_threads_that_cannot_be_had_are_said(backend: Backend) -> None:
    samples.build(backend, "linear").logits(samples.examples(1).images)
    with pytest.warns(UserWarning, match="training.threads: expected 3, but TensorFlow computes .* with 1"):
        backend.session(samples.training(threads=3)).__enter__()
    with warnings.catch_warnings(), backend.session(samples.training(threads=1)):
        warnings.simplefilter("error")


def test_nothing_touches_the_global_generators(backend: Backend, tmp_path: Any, monkeypatch: Any) -> None:
    import tensorflow as tf

    (tmp_path / "own_tf.py").write_text(
        "import keras\n"
        "def make(classes, image_shape):\n"
        "    return keras.Sequential([keras.Input(image_shape), keras.layers.Flatten(), keras.layers.Dense(classes)])\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    options: dict[str, Any] = {"classes": 5, "image_shape": samples.SHAPE}
    before = random.getstate(), np.random.get_state()[1].tolist()
    tf.random.set_seed(1)
    drawn = float(tf.random.uniform(()))
    tf.random.set_seed(1)
    one, same, other = (backend.build("own_tf:make", seed=seed, **options).state() for seed in (1, 1, 2))
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    assert float(tf.random.uniform(())) == drawn
    assert np.array_equal(one["0.weight"], same["0.weight"])
    assert not np.array_equal(one["0.weight"], other["0.weight"])


def test_augmentation_is_the_oracles() -> None:
    import tensorflow as tf

    from sat_tensorflow.augmentation import augment

    rng = np.random.default_rng(0)
    images = rng.random((16, 32, 32, 3), np.float32)
    for name in AUGMENTATIONS:
        kind = AUGMENTATIONS.get(name)
        draws = kind.draw(rng, len(images))
        expected = oracle_augment(images, kind, draws)
        np.testing.assert_allclose(augment(tf.constant(images), kind, draws), expected, atol=1e-5)


@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize("random_start", [False, True])
def test_the_building_block_does_the_trainers_step(backend: Backend, in_graph: bool, random_start: bool) -> None:
    import keras
    import tensorflow as tf

    from sat_tensorflow import SubsetAdversarialStep, with_index

    data, attack = samples.examples(16), samples.attack(random_start=random_start)
    split = samples.split(16, 0.4)
    classifier = samples.build(backend, "small-cnn")
    items = with_index(tf.data.Dataset.from_tensor_slices((data.images, data.labels)))
    images, labels, index = next(iter(items.shuffle(16, seed=1).batch(16)))
    (plan,) = samples.plans(16, 0.4, training := samples.training(lr=0.0, batch_size=16, epochs=1), attack)
    pixels = keras.Input(samples.SHAPE)
    offset = [-m / s for m, s in zip(samples.MEAN, samples.STD, strict=True)]
    model = keras.Model(pixels, classifier.native(keras.layers.Rescaling([1 / s for s in samples.STD], offset)(pixels)))
    step = SubsetAdversarialStep(model, split, attack, np.random.default_rng(0))
    before = classifier.state()

    def once(*tensors: Any) -> tuple[Any, Any]:
        mixed = step.mix(*tensors)
        return mixed, step.loss(model(mixed, training=True), *tensors[1:])

    mixed, loss = (tf.function(once) if in_graph else once)(images, labels, index)
    outside = ~split.members[index.numpy()]
    np.testing.assert_array_equal(mixed.numpy()[outside], images.numpy()[outside])
    assert not np.array_equal(mixed.numpy()[~outside], images.numpy()[~outside])
    kept = classifier.state()
    assert all(np.array_equal(kept[name], v) for name, v in before.items() if "running" not in name)
    own = split.members[index.numpy()]
    expected = samples.build(backend, "small-cnn").perturb(
        images.numpy()[own], labels.numpy()[own], attack, np.random.default_rng(0)
    )
    np.testing.assert_allclose(mixed.numpy()[own], expected, atol=1e-4)
    if not random_start:
        again, losses = samples.build(backend, "small-cnn"), []
        backend.trainer(again, data, training, attack).run([plan], lambda _p, s: losses.append(s.loss()))
        assert float(loss) == pytest.approx(losses[0], rel=1e-4)
    no_member = np.flatnonzero(outside)
    rest = (tf.gather(t, no_member) for t in (images, labels, index))
    np.testing.assert_array_equal(step.mix(*rest), images.numpy()[no_member])


def test_the_building_block_takes_other_types_and_models_that_are_not_built(backend: Backend) -> None:
    import tensorflow as tf

    from sat_tensorflow import SubsetAdversarialStep

    data, split = samples.examples(16), samples.split(16, 0.4)
    model = own_network()
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
    model = own_network()
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

    step = SubsetAdversarialStep(own_network(), samples.split(16, 0.4), samples.attack())
    for shape in (None, (None, None, None, 3)):
        images = tf.TensorSpec(shape, tf.float32)
        with pytest.raises(Exception, match=r"set them with tf\.ensure_shape"):
            tf.function(step.mix).get_concrete_function(images, *[tf.TensorSpec((None,), tf.int64)] * 2)


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


def test_micro_batches_add_up_to_the_gradient_of_the_whole_batch(backend: Backend) -> None:
    import tensorflow as tf

    from sat_tensorflow import SubsetAdversarialStep

    data, model = samples.examples(16), samples.build(backend, "small-cnn").native
    step = SubsetAdversarialStep(model, samples.split(16, 0.4), samples.attack(steps=2))
    batch, found = (tf.constant(data.images), tf.constant(data.labels), tf.range(16)), []
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
        found.append([gradient / weights for gradient in sums])
    with tf.GradientTape() as tape:
        loss = step.loss(model(step.mix(*batch), training=False), *batch[1:])
    for whole, *others in zip(tape.gradient(loss, model.trainable_variables), *found, strict=True):
        for other in others:
            np.testing.assert_allclose(other, whole, rtol=1e-4, atol=1e-6)
    logits = tf.cast(model(batch[0], training=False), tf.bfloat16)
    assert [part.dtype for part in step.losses(logits, *batch[1:])] == [tf.float32] * 2
