"""A Keras model as a `Classifier`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, final

import keras
import numpy as np
import tensorflow as tf
from tensorflow import Tensor

from sat_core.arrays import as_float
from sat_core.backend import check_statistics
from sat_core.checkpoint import check_state
from sat_core.classifier import Classifier, State
from sat_core.errors import SpecError
from sat_core.initialisation import initial_state
from sat_core.precision import FP16_SCALE, attack_type, least_precise
from sat_core.reference.attacks import takes_start
from sat_core.sections import AttackSpec
from sat_tensorflow import attacks
from sat_tensorflow.bridge import torch_device, torch_module
from sat_tensorflow.folded import folded
from sat_tensorflow.models import build
from sat_tensorflow.models.head import WithHead
from sat_tensorflow.modes import Forward, frozen, inputs_of, tf32

_CHUNK = 512
"""Images per forward of calls that take any number of them."""
_LEAVES = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
"""Names of Keras and of PyTorch."""


@final
class TensorFlowClassifier(Classifier):
    """See `sat_core.classifier.Classifier`. `forward` takes tensors `(n, h, w, c)` in [0, 1] and changes nothing."""

    def __init__(
        self,
        native: keras.Model,
        device: str,
        *,
        classes: int,
        image_shape: tuple[int, int, int],
        mean: tuple[float, ...] = (),
        std: tuple[float, ...] = (),
        description: Mapping[str, Any] | None = None,
        head: keras.Model | None = None,
    ) -> None:
        check_statistics(mean, std, image_shape)
        self.device = device
        self.classes = classes
        self.image_shape = image_shape
        self.mean, self.std = mean, std
        self.description = description or {}
        self.take(native, head)

    def take(self, native: keras.Model, head: keras.Model | None = None) -> None:
        """Compute with `native` from now on, of which only `head` learns if there is one."""
        self.native, self.head = native, head
        own = frozen(native)
        self.forward: Forward = lambda images: own(self._normalised(images))
        self._scale = FP16_SCALE if self.precision == "float16" else 1.0
        self._pgd = attacks.PGD(lambda: self.forward, gradient_scale=self._scale)
        self._folded = folded(native) if self.description else lambda: own
        self._graph: Callable[..., Any] = cache(self._make)

    def train(self, images: Tensor) -> Tensor:
        """Logits of images `(n, h, w, c)` in [0, 1] in training mode: batch statistics are used and kept.

        Of a classifier with a head of its own, in evaluation mode.
        """
        return self.native(self._normalised(images), training=self.head is None)

    def evaluated(self, images: Tensor) -> Any:
        """What the model returns for images `(n, h, w, c)` in [0, 1], in evaluation mode."""
        return self.native(self._normalised(images), training=False)

    def taken(self) -> Forward:
        """`forward` with weights as they are now, folded: of our networks only, and not in half precision."""
        own = self._folded()
        return lambda images: own(self._normalised(images))

    def _normalised(self, images: Tensor) -> Tensor:
        if not self.mean:
            return images
        return (images - tf.constant(self.mean, images.dtype)) / tf.constant(self.std, images.dtype)

    @property
    def dtype(self) -> str:
        """Type of images and δ: float32, or float64 in a float64 training."""
        return attack_type(self.precision)

    @property
    def precision(self) -> str:  # type: ignore[override]
        """See `sat_core.classifier.Classifier.precision`."""
        layers = self.native._flatten_layers()  # those that hold others have a policy that nothing is computed in
        computing = [x for x in layers if not x._layers and not isinstance(x, keras.layers.InputLayer)]
        return least_precise({*(v.dtype for v in self.native.weights), *(x.compute_dtype for x in computing)})

    @property
    def torch_device(self) -> str:  # type: ignore[override]
        """See `sat_core.classifier.Classifier.torch_device`."""
        return torch_device(self.device)

    def _logits(self, images: np.ndarray) -> np.ndarray:
        return self._over(self._graph("logits"), images)

    def _features(self, images: np.ndarray) -> np.ndarray:
        return self._over(self._graph("features"), images)

    def _with_head(self, classes: int, seed: int) -> TensorFlowClassifier:
        """See `sat_core.classifier.Classifier.with_head`. A user's own model is shared: do not train it on."""
        width = self.features(np.zeros((1, *self.image_shape), np.float32)).shape[1:]
        if len(width) != 1:
            raise SpecError(f"with_head: expected features of shape (n, d), got {('n', *width)}")
        about: dict[str, Any] = {
            "classes": classes,
            "image_shape": self.image_shape,
            "mean": self.mean,
            "std": self.std,
        }
        description = self.description and {**self.description, "classes": classes, "head": True}
        with tf.device(self.device):
            if description:
                native, head = build(description, self.dtype)
            else:
                native = WithHead(self.native, *width, classes)
                native(tf.zeros((1, *self.image_shape), self.dtype))
                head = native.head
            assert head is not None  # noqa: S101
        made = TensorFlowClassifier(native, self.device, **about, description=description, head=head)
        state = made.state()
        learning = {id(v) for v in head.trainable_variables}
        names = [name for name, v in made.variables().items() if id(v) in learning]
        kept = {name: value for name, value in self.state().items() if name in state} if description else {}
        made.load_state(state | kept | initial_state({name: state[name] for name in names}, seed))
        return made

    def _perturb(
        self, images: np.ndarray, labels: np.ndarray, attack: AttackSpec, rng: np.random.Generator | None
    ) -> np.ndarray:
        images = as_float(images)
        start = takes_start(attack, images, rng)
        parts = [np.empty((0, *images.shape[1:]), np.float32)]
        with tf.device(self.device):
            for i in range(0, len(images), _CHUNK):
                x, y = self._tensors(images[i : i + _CHUNK], labels[i : i + _CHUNK])
                noise = None if start is None else tf.constant(start[i : i + _CHUNK], self.dtype)
                parts.append(to_numpy(self._pgd(x, y, attack, noise)))
        return np.concatenate(parts)

    def _loss_gradient(
        self, images: np.ndarray, labels: np.ndarray, loss: str, targets: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if len(images) == 0:  # convolutions of nothing are refused
            one = np.zeros(1, np.int64)
            zeros = np.zeros((1, *self.image_shape), np.float32)
            found = self.loss_gradient(zeros, one, loss, None if targets is None else one)
            return found[0][:0], found[1][:0], found[2][:0]
        with tf.device(self.device):
            x, y = self._tensors(images, labels)
            t = () if targets is None else (tf.constant(targets),)
            logits, losses, gradient = self._graph("targeted_" * len(t) + "loss_gradient", loss)(x, y, *t)
        return to_numpy(logits), to_numpy(losses), to_numpy(gradient)

    @contextmanager
    def exact(self) -> Iterator[None]:
        with tf32(False):
            yield

    def as_torch_module(self) -> Any:
        return torch_module(lambda images: self.forward(tf.cast(images, self.dtype)), self.image_shape, self.device)

    def state(self) -> State:
        values = {  # numpy has no bfloat16
            name: (v.name, to_numpy(v.value) if v.dtype == "bfloat16" else v.numpy())
            for name, v in self.variables().items()
        }
        return {name: to_canonical(*value) for name, value in values.items()}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        own = self.variables()
        check_state(
            {name: to_canonical(v.name, np.empty(v.shape, _number(v))) for name, v in own.items()}, state, "model"
        )
        for name, variable in own.items():
            variable.assign(from_canonical(variable.name, np.asarray(state[name])))

    def variables(self) -> dict[str, keras.Variable]:
        """Weights and statistics by canonical name; in a model that is not ours, layers have numbers, not names, which
        Keras counts on from model to model.
        """
        if self.description:
            named = [(layer.name, v) for layer in self.native.layers for v in layer.variables]
        else:
            named = [(str(i), v) for i, v in enumerate(self.native.variables)]
        return {f"{name}.{_LEAVES.get(v.name, v.name)}": v for name, v in named}

    def _make(self, kind: str, *options: str) -> Any:
        """One graph for any number of images."""
        h, w, c = self.image_shape
        images, labels = tf.TensorSpec((None, h, w, c), self.dtype), tf.TensorSpec((None,), tf.int64)
        body, *signature = {
            "logits": (self.forward, images),
            "features": (self._last_input, images),
            "loss_gradient": (self._ascent, images, labels),
            "targeted_loss_gradient": (self._ascent, images, labels, labels),
        }[kind]
        graph = tf.function(lambda *tensors: body(*tensors, *options), signature, autograph=False)
        return graph.get_concrete_function()

    def _last_input(self, images: Tensor) -> Tensor:
        with inputs_of(self.native, _is_dense) as caught:
            self.forward(images)
        if not caught:
            raise SpecError("features: expected a model that ends in a keras.layers.Dense, found none")
        return caught[-1][1]

    def _ascent(self, images: Tensor, labels: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
        *targets, loss = rest
        return attacks.loss_gradient(self.forward, images, labels, loss, *targets, gradient_scale=self._scale)

    def _over(self, graph: Callable[[Tensor], Tensor], images: np.ndarray) -> np.ndarray:
        if len(images) == 0:
            return self._over(graph, np.zeros((1, *self.image_shape), np.float32))[:0]
        chunks = (as_float(images[i : i + _CHUNK]) for i in range(0, len(images), _CHUNK))
        with tf.device(self.device):
            return np.concatenate([to_numpy(graph(tf.constant(chunk, self.dtype))) for chunk in chunks])

    def _tensors(self, images: np.ndarray, labels: np.ndarray) -> tuple[Tensor, Tensor]:
        return tf.constant(as_float(images), self.dtype), tf.constant(labels)


def _is_dense(layer: keras.Layer) -> bool:
    return isinstance(layer, keras.layers.Dense)


def to_numpy(tensor: Tensor) -> np.ndarray:
    """A copy of a tensor's values, in float32 if they are numbers with a fraction."""
    return np.array(tf.cast(tensor, tf.float32) if tensor.dtype.is_floating else tensor)


def _number(variable: keras.Variable) -> np.dtype:
    """A type of its kind; numpy has none for bfloat16."""
    kind = tf.as_dtype(variable.dtype)
    return np.dtype(np.float32 if kind.is_floating else kind.as_numpy_dtype)


def to_canonical(leaf: str, value: np.ndarray) -> np.ndarray:
    """Keras's `(…, in, out)` to PyTorch's `(out, in, …)`, for kernels."""
    return np.ascontiguousarray(np.moveaxis(value, (-1, -2), (0, 1))) if _is_kernel(leaf, value) else np.array(value)


def from_canonical(leaf: str, value: np.ndarray) -> np.ndarray:
    """PyTorch's `(out, in, …)` to Keras's `(…, in, out)`, for kernels."""
    return np.ascontiguousarray(np.moveaxis(value, (0, 1), (-1, -2))) if _is_kernel(leaf, value) else value


def _is_kernel(leaf: str, value: np.ndarray) -> bool:
    return leaf == "kernel" and value.ndim > 1
