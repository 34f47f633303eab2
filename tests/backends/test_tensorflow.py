"""The TensorFlow backend beyond what every backend does: graphs, layers, wrapped models."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from toys import own_network

from sat_core.ascent import attack_first
from sat_core.ascent import padded as padded_size
from sat_core.augmentation import AUGMENTATIONS, Moves
from sat_core.backend import Backend
from sat_core.errors import SpecError
from sat_core.reference import augment as oracle_augment
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
    samples.train(trainer, plans)
    clean = any((plan.members == 0).any() for plan in plans)
    assert trainer.traces == 2 + clean  # type: ignore[attr-defined]  # attack, and step with and without one
    assert len({*np.concatenate([plan.members for plan in plans]).tolist()} - {0}) > 1
    for n in (1, 7, 24):
        for eps, steps in ((0.1, 1), (0.8, 3)):
            classifier.perturb(data.images[:n], data.labels[:n], samples.attack(eps=eps, steps=steps))
    assert classifier.traces == 1  # type: ignore[attr-defined]


def test_compiled_attacks_are_padded_to_sixteenths_of_the_batch(backend: Backend) -> None:
    import tensorflow as tf

    from sat_tensorflow.attacks import PGD
    from sat_tensorflow.ops import OPS

    data, shapes, rng = samples.examples(128), [], np.random.default_rng(0)
    x, y = tf.constant(data.images), tf.constant(data.labels)
    classifier: Any = samples.build(backend, "small-cnn")
    pgd = PGD(lambda: classifier.forward)

    def perturb(images: Any, labels: Any, start: Any) -> Any:
        shapes.append(len(images))
        return pgd(images, labels, samples.attack(), start)

    for n in (1, 35, 128):
        start = tf.constant((rng.standard_normal((128, *samples.SHAPE)) * 0.01).astype(np.float32))
        plain, padded = (
            attack_first(OPS, perturb, x, y, start[:size], size, count)
            for size, count in ((n, None), (padded_size(n, 128), tf.constant(n, tf.int64)))
        )
        np.testing.assert_allclose(plain, padded, atol=1e-3)
        np.testing.assert_array_equal(padded[n:], x[n:])
    assert shapes == [1, 8, 35, 40, 128, 128]


@pytest.mark.parametrize(("model", "head"), [*((model, False) for model in IMAGE_SHAPES), ("small-cnn", True)])
def test_folded_networks_are_the_same_function(backend: Backend, model: str, head: bool) -> None:
    import tensorflow as tf

    from sat_tensorflow.attacked import Attacked

    classifier: Any = samples.build(backend, model, shape=IMAGE_SHAPES[model])
    classifier = classifier.with_head(7) if head else classifier
    x, all_logits, before = tf.constant(samples.examples(3, shape=IMAGE_SHAPES[model]).images), [], classifier.state()
    network = Attacked(classifier, samples.training())
    off: list[float] = []

    @tf.function
    def both(x: Any) -> Any:
        made = []
        for forward in (network.weights(), classifier.forward):
            with tf.GradientTape() as tape:
                tape.watch(x)
                logits = forward(x)
                made += [logits, tape.gradient(tf.reduce_sum(logits * logits), x)]
        return made

    for _ in range(2):
        logits, slope, expected, expected_slope = both(x)
        all_logits.append(logits)
        assert tf.norm(logits - expected) <= 1e-4 * tf.norm(expected)
        off += [float(tf.norm(a - b) / tf.norm(b)) for a, b in zip(slope, expected_slope, strict=True)]
        if not all_logits[1:]:
            assert all(np.array_equal(value, before[name]) for name, value in classifier.state().items())
            classifier.load_state({name: value * np.float32(1.1) for name, value in before.items()})
    assert not np.array_equal(all_logits[0], all_logits[1])  # the weights of then, not those of the first time
    # a value that is rounded to the other side of a ReLU's corner has another gradient, on some of the images
    assert min(off) < 1e-4
    assert max(off) < 0.2


class Counts:
    """Counts the images that a network is called with, as the graph runs."""

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
        samples.train(backend.trainer(classifier, data, training, attack), plans)
        assert counts.seen == [members] * (3 if members else 0) + [16]


def test_a_users_model_is_wrapped_and_left_as_it_was(backend: Backend) -> None:
    model, data = own_network(backend), samples.examples()
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
    samples.train(backend.trainer(classifier, data, training, attack), samples.plans(24, 0.5, training, attack))
    changed = [name for name, value in classifier.state().items() if not np.array_equal(value, before[name])]
    assert not {"0.weight", "1.bias"} & {*changed}  # frozen by the user
    assert {"2.weight", "4.running_mean", "7.weight"} <= {*changed}
    assert any("seed" in name for name in changed)  # dropout goes on where it stopped


def test_the_same_network_made_twice_has_the_same_names(backend: Backend) -> None:
    one, two = (backend.wrap(own_network(backend), classes=5, image_shape=samples.SHAPE) for _ in range(2))
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
        """A layer in training mode by default."""

        def __init__(self) -> None:
            super().__init__()
            self.dropout = layers.Dropout(0.5)

        def call(self, x: Any, training: bool = True) -> Any:
            return self.dropout(x, training=training)

    class Plain(keras.Model):  # type: ignore[misc]
        """A model whose `call` takes no `training`."""

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
    samples.train(backend.trainer(classifier, data, training, attack), samples.plans(24, 0.5, training, attack))
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
    classifier, data = backend.wrap(own_network(backend), **options), samples.examples()
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
    parts = classifier.loss_gradient(none.images[:0], none.labels[:0], "targeted-dlr", none.labels[:0])
    assert [part.shape for part in parts] == [(0, 5), (0,), (0, *samples.SHAPE)]


def test_where_memory_runs_out_fewer_images_are_computed_at_once(backend: Backend) -> None:
    """TensorFlow's own error, of a layer that needs a petabyte for more than five images."""
    import keras
    import tensorflow as tf

    class Hungry(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            size = tf.where(tf.shape(x)[0] > 5, tf.constant(2**48, tf.int64), tf.constant(1, tf.int64))
            return x + tf.reduce_max(tf.fill([size], tf.constant(0, x.dtype)))

    parts = [keras.layers.Flatten(), keras.layers.Dense(5)]
    data, options = samples.examples(7), {"classes": 5, "image_shape": samples.SHAPE}
    modest = backend.wrap(keras.Sequential([keras.Input(samples.SHAPE), *parts]), **options)
    hungry = backend.wrap(keras.Sequential([keras.Input(samples.SHAPE), Hungry(), *parts]), **options)
    logits = modest.logits(data.images)
    np.testing.assert_allclose(hungry.logits(data.images), logits, atol=1e-5)  # TensorFlow waits 10 s for memory
    for ours, theirs in zip(*(c.loss_gradient(data.images, data.labels) for c in (hungry, modest)), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    threat = {"norm": "L2", "eps": 0.3, "attacks": ("apgd-ce",), "engine": "fast"}
    for size, left in ((5, 5), (7, 4)):
        attacked = backend.evaluate(hungry, data.images, logits.argmax(1), **threat, batch_size=size)
        assert attacked.batch_size == left


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
        moves = kind.moves(kind.draw(rng, len(images)))
        if moves is not None:
            made = augment(tf.constant(images), kind, Moves(tf.constant(moves.integers), tf.constant(moves.factors)))
            np.testing.assert_allclose(made, oracle_augment(images, kind, moves), atol=1e-5)
