"""A Keras model as a `Classifier`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, final

import attrs
import keras
import numpy as np
import tensorflow as tf
from tensorflow import Tensor

from sat_core.attack_spec import AttackSpec
from sat_core.classifier import Classifier, State
from sat_core.errors import SpecError
from sat_core.initialisation import initial_state
from sat_core.input_spec import InputSpec
from sat_core.network_cost import NetworkCost
from sat_core.precision import FP16_SCALE, attack_type, least_precise
from sat_core.state import check_state
from sat_tensorflow import attacks
from sat_tensorflow.arrays import canonical_leaf, from_canonical, like, to_canonical, to_numpy
from sat_tensorflow.bridge import torch_device, torch_module
from sat_tensorflow.cost import measured
from sat_tensorflow.inputs import OnImages
from sat_tensorflow.models import build
from sat_tensorflow.models.head import WithHead
from sat_tensorflow.modes import Forward, frozen, inputs_of, tf32


@final
class TensorFlowClassifier(Classifier):
    """See `sat_core.classifier.Classifier`. `forward` takes tensors `(n, h, w, c)` in [0, 1] and changes nothing.

    Args:
        native: what `inputs` makes of images to logits; used as it is.
        device: where it computes.
        inputs: classes, shape of the images, and what stands in front of the network.
        description: of one of our networks, as `Backend.new` takes it; none for a user's.
        head: the part of `native` that learns, where the rest is frozen.
    """

    out_of_memory = (tf.errors.ResourceExhaustedError,)

    def __init__(
        self,
        native: keras.Model,
        device: str,
        inputs: InputSpec,
        *,
        description: Mapping[str, Any] | None = None,
        head: keras.Model | None = None,
    ) -> None:
        self.inputs, self.on_images = inputs, OnImages(inputs)
        self.device = device
        self.description = description or {}
        self.use(native, head)

    def use(self, native: keras.Model, head: keras.Model | None = None) -> None:
        """Compute with `native` from now on, of which only `head` learns if there is one."""
        # all that is traced belongs to the model that it was made from, so it is made anew
        self.native, self.head, self._new_head = native, head, head
        own = frozen(native, self.on_images.logits)
        self.forward: Forward = lambda images: own(self.on_images.prepared(images))
        self._gradient_scale = FP16_SCALE if self.precision == "float16" else 1.0
        self._pgd = attacks.PGD(lambda: self.forward, gradient_scale=self._gradient_scale)
        self._graph: Callable[..., Any] = cache(self._make)

    def train(self, images: Tensor) -> Tensor:
        """Return the logits of images `(n, h, w, c)` in [0, 1] in training mode, which updates running statistics.

        A classifier with a head of its own runs in evaluation mode: its features are frozen.
        """
        return self._called(images, training=self.head is None)

    def evaluated(self, images: Tensor) -> Any:
        """Return what the model makes of images `(n, h, w, c)` in [0, 1], in evaluation mode."""
        return self._called(images, training=False)

    def _called(self, images: Tensor, *, training: bool) -> Any:
        return self.on_images.logits(self.native(self.on_images.prepared(images), training=training), images)

    @property
    def dtype(self) -> str:
        """Type of images and δ: float32, or float64 in a float64 training."""
        return attack_type(self.precision)

    @property
    def precision(self) -> str:  # type: ignore[override]
        """See `sat_core.classifier.Classifier.precision`."""
        # a layer that holds others has a dtype policy of its own, in which nothing is computed
        layers = self.native._flatten_layers()
        computing = [x for x in layers if not x._layers and not isinstance(x, keras.layers.InputLayer)]
        return least_precise({*(v.dtype for v in self.native.weights), *(x.compute_dtype for x in computing)})

    @property
    def traces(self) -> int:
        """Number of graphs traced for attacks; another number of images, ε or steps adds none."""
        return self._pgd.traces

    @property
    def torch_device(self) -> str:  # type: ignore[override]
        """See `sat_core.classifier.Classifier.torch_device`."""
        return torch_device(self.device)

    def cost(self) -> NetworkCost | None:
        with tf.device(self.device):
            return measured(self.native, self.on_images, self.dtype)

    def _logits(self, images: np.ndarray) -> np.ndarray:
        return self._run(self._graph("logits"), images)

    def _features(self, images: np.ndarray) -> np.ndarray:
        return self._run(self._graph("features"), images)

    def last_layer(self) -> tuple[str, ...]:
        layer = self._last()
        own = set() if layer is None else {id(v) for v in layer.variables}
        return tuple(name for name, v in self.variables().items() if id(v) in own)

    def learn(self, layers: str) -> None:
        self.head = self._new_head
        if layers == "head" and self._new_head is None:
            self.head = self._last()
            if self.head is None:
                raise SpecError("model.layers: expected a network whose logits a keras.layers.Dense makes, found none")

    def _last(self) -> keras.layers.Dense | None:
        """The layer that makes the logits."""
        with tf.device(self.device), inputs_of(self.native, _is_dense) as calls:
            self.forward(tf.constant(self._one(), self.dtype))
        # a dense layer deep inside may be called last where a convolution makes the logits
        return calls[-1][0] if calls and self._makes_logits(calls[-1][0].units) else None

    def _with_head(self, classes: int, seed: int) -> TensorFlowClassifier:
        """See `sat_core.classifier.Classifier.with_head`. A user's own model is shared: do not train it on."""
        width = self.features(np.zeros((1, *self.image_shape), np.float32)).shape[1:]
        if len(width) != 1:
            raise SpecError(f"with_head: expected features of shape (n, d), got {('n', *width)}")
        # the head returns logits alone
        inputs = attrs.evolve(self.inputs, classes=classes, output="")
        description = self.description and {**self.description, "classes": classes, "head": True}
        with tf.device(self.device):
            if description:
                native, head = build(description, self.dtype)
            else:
                native = WithHead(self.native, *width, classes)
                native(tf.zeros((1, *self.inputs.network_shape), self.dtype))
                head = native.head
            assert head is not None  # noqa: S101
        made = TensorFlowClassifier(native, self.device, inputs, description=description, head=head)
        state = made.state()
        learning = {id(v) for v in head.trainable_variables}
        names = [name for name, v in made.variables().items() if id(v) in learning]
        # ours was built anew and gets the weights of its features; a user's layers are shared and have theirs
        features = {name: value for name, value in self.state().items() if name in state} if description else {}
        # the core draws the head's weights, so that a seed gives the same head in every backend
        made.load_state(state | features | initial_state({name: state[name] for name in names}, seed))
        return made

    def _perturb(
        self, images: np.ndarray, labels: np.ndarray, attack: AttackSpec, start: np.ndarray | None
    ) -> np.ndarray:
        with tf.device(self.device):
            noise = None if start is None else tf.constant(start, self.dtype)
            return to_numpy(self._pgd(*self._tensors(images, labels), attack, noise))

    def _loss_gradient(
        self, images: np.ndarray, labels: np.ndarray, loss: str, targets: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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
        check_state({name: like(v) for name, v in own.items()}, state, "model")
        for name, variable in own.items():
            variable.assign(from_canonical(variable.name, np.asarray(state[name])))

    def variables(self) -> dict[str, keras.Variable]:
        """Return weights and statistics by canonical name.

        In a user's model layers have numbers: Keras's names, such as conv2d_7, count on from model to model.
        """
        if self.description:
            named = [(layer.name, v) for layer in self.native.layers for v in layer.variables]
        else:
            named = [(str(i), v) for i, v in enumerate(self.native.variables)]
        return {f"{name}.{canonical_leaf(v.name)}": v for name, v in named}

    def _make(self, kind: str, *options: str) -> Any:
        """Trace one graph for any number of images."""
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
        with inputs_of(self.native, _is_dense) as calls:
            self.forward(images)
        if not calls:
            raise SpecError("features: expected a model that ends in a keras.layers.Dense, found none")
        # by the order of calls: a model may declare its layers in another
        return calls[-1][1]

    def _ascent(self, images: Tensor, labels: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
        *targets, loss = rest
        return attacks.loss_gradient(self.forward, images, labels, loss, *targets, gradient_scale=self._gradient_scale)

    def _run(self, graph: Callable[[Tensor], Tensor], images: np.ndarray) -> np.ndarray:
        with tf.device(self.device):
            return to_numpy(graph(tf.constant(images, self.dtype)))

    def _tensors(self, images: np.ndarray, labels: np.ndarray) -> tuple[Tensor, Tensor]:
        return tf.constant(images, self.dtype), tf.constant(labels)


def _is_dense(layer: keras.Layer) -> bool:
    return isinstance(layer, keras.layers.Dense)
