"""One rank of several that train with TensorFlow; `test_tensorflow_ranks.py` has torchrun's engine start them."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import attrs
import keras
import numpy as np
import rank_cases
import tensorflow as tf
from keras import layers
from rank_cases import AUGMENTED, EXACT, Case

from sat_core.backend import Backend
from sat_core.classifier import Classifier
from sat_core.epoch_plan import joined
from sat_core.process_group import ALONE, ProcessGroup
from sat_core.testing import samples
from sat_core.training_spec import TrainingSpec
from sat_evaluation.run.ranks import join_group
from sat_tensorflow import TensorFlowBackend  # before the frameworks, which it imports in the order that they need
from sat_tensorflow.distributed import strategy_of
from sat_tensorflow.models.layers import BatchNorm

MORE = {"awp": 0.02, "clip_norm": 0.3, "averaging": "ema:0.9"}
CASES = {
    **rank_cases.CASES,
    "own": Case(model="own", training=EXACT),
    "own, on augmented images": Case(model="own", training={**AUGMENTED, "optimizer": "adamw", "lr": 1e-3}),
    # Ranks have different numbers of clean images behind the mixed ones, and some have none.
    "pairs": Case(share=0.05, rule="balanced", training={**EXACT, **MORE}, loss={"kind": "trades"}),
    "own, pairs": Case(model="own", training={**EXACT, **MORE}, loss={"kind": "alp", "label_smoothing": 0.1}),
    "parts": Case(
        model="head",
        training={**EXACT, "micro_batches": 2},
        attack={"random_start": True, "restarts": 2, "warmup": 1.5},
    ),
}
# Weights stay as they are, so that statistics depend on nothing but the images that a rank has seen.
STILL = Case(share=0.0, training={**EXACT, "lr": 0.0})
LOCAL = attrs.evolve(STILL, training={**STILL.training, "batch_norm": "local"})
DRAWING = Case(model="drawing", share=0.0, training=EXACT)


@keras.saving.register_keras_serializable("tests")
class Drawing(layers.Layer):
    """It draws, and keeps what it drew last where Keras does not see it."""

    def __init__(self) -> None:
        super().__init__()
        self.seed = keras.random.SeedGenerator(0)
        self.drawn = tf.Variable(tf.zeros(3), trainable=False)

    def call(self, images: Any, training: bool | None = None) -> Any:
        if training:
            self.drawn.assign(keras.random.uniform((3,), seed=self.seed))
        return images


def own() -> keras.Model:
    """A user's network: BatchNorm of pixels, and of rows."""
    images = keras.Input(samples.SHAPE)
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(6, 3, use_bias=False)(images)))
    x = layers.BatchNormalization(momentum=0.7)(layers.Dense(12, use_bias=False)(layers.Flatten()(x)))
    return keras.Model(images, layers.Dense(samples.CLASSES)(x))


def drawing() -> keras.Model:
    """A user's network that draws."""
    return keras.Sequential([keras.Input(samples.SHAPE), Drawing(), layers.Flatten(), layers.Dense(samples.CLASSES)])


def make(backend: Backend, model: str) -> Classifier:
    """Return a new network, the same on every rank."""
    if model in ("own", "drawing"):
        keras.config.set_dtype_policy("float64")
        try:
            with backend.seeded(0):
                native = own() if model == "own" else drawing()
        finally:
            keras.config.set_dtype_policy("float32")
        return backend.wrap(native, classes=samples.CLASSES, image_shape=samples.SHAPE)
    classifier = samples.build(backend, "small-cnn")
    if model == "last layer":
        classifier.learn("head")
    return classifier.with_head(samples.CLASSES, 1) if model == "head" else classifier


def run(case: Case, group: ProcessGroup = ALONE) -> dict[str, np.ndarray]:
    """Do as `rank_cases.run`."""
    backend = TensorFlowBackend()
    backend.join(group)
    return rank_cases.run(backend, make(backend, case.model), case, group)


def drawn(group: ProcessGroup) -> np.ndarray:
    """What a user's layers draw in the last step of a training."""
    backend = TensorFlowBackend()
    backend.join(group)
    classifier: Any = make(backend, "drawing")
    rank_cases.run(backend, classifier, DRAWING, group)
    return np.asarray(next(x.drawn for x in classifier.native.layers if isinstance(x, Drawing)))


def normalise(group: ProcessGroup, dtype: str) -> dict[str, np.ndarray]:
    """Send a batch whose mean is far from zero through our BatchNorm and back."""
    values = np.random.default_rng(0).normal(0, 1, (2, 12, 4, 4, 5))[:, group.rank :: group.size]
    x, weight = tf.constant(values[0] + 1000, dtype), tf.constant(values[1], dtype)
    layer = BatchNorm(dtype=dtype)
    layer.build(x.shape)
    layer.synchronized = group.size > 1

    def there_and_back() -> tuple[Any, list[Any]]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        return y, tape.gradient(y, [x, layer.gamma.value, layer.beta.value], weight)

    body = there_and_back if group.size == 1 else lambda: strategy_of(group, False).run(there_and_back)
    y, (of_x, *others) = tf.function(body, autograph=False)()
    left = {"y": y, "of x": of_x}
    left = {key: joined(group.gather(np.asarray(value)[None]))[0] for key, value in left.items()}
    left |= {f"of {n}": np.sum(group.gather(np.asarray(value)), axis=0) for n, value in enumerate(others)}
    return left | {"mean": np.asarray(layer.moving_mean.value), "variance": np.asarray(layer.moving_variance.value)}


def main(folder: str) -> None:
    """Save what each training leaves behind on this rank."""
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    group = join_group("tensorflow", "cpu")
    backend = TensorFlowBackend()
    backend.join(group)
    with backend.session(TrainingSpec(epochs=1, threads=1)):
        left = {f"case {name}": run(case, group) for name, case in CASES.items()}
        left |= {f"layer {dtype}": normalise(group, dtype) for dtype in ("float32", "float64")}
        left |= {"local": run(LOCAL, group), "drawn": {"first": drawn(group), "again": drawn(group)}}
    # A stop still reaches the process, although TensorFlow has begun to listen, too.
    signal.raise_signal(signal.SIGTERM)
    left["stop"] = {"told": np.array(told)}
    np.savez(Path(folder) / f"{group.rank}.npz", **{f"{a}/{b}": v for a, each in left.items() for b, v in each.items()})


if __name__ == "__main__":
    main(sys.argv[1])
