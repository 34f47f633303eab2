"""Running a model without changing it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf
from tensorflow import Tensor

Forward = Callable[[Tensor], Tensor]
"""Images `(n, h, w, c)` to logits."""
Logits = Callable[[Any, Tensor], Any]
"""What a network returned, and the images, to logits."""


Constants = dict[int, tuple[keras.Variable, Tensor]]
"""Variables by their `id`, and what is computed with in their place, which may be of another type."""


def _alone(output: Any, images: Tensor) -> Any:
    return output


def frozen(model: keras.Model, logits: Logits = _alone) -> Forward:
    """Return `model` in evaluation mode as a function to logits in the type of the images, whatever it computes in.

    It changes no variable: BatchNorm uses its running statistics. Gradients end at the weights, so that no graph keeps
    what only their gradients would need.
    """
    return lambda images: held(model, constants(model), logits=logits)(images)


def held(model: keras.Model, values: Constants, half: str | None = None, logits: Logits = _alone) -> Forward:
    """Return `frozen(model, logits)` with `values` in place of its variables, computed in the half precision."""

    def forward(images: Tensor) -> Tensor:
        # set in the scope and not handed to it, as it would convert them to the types of the variables
        with keras.StatelessScope() as scope, precision(model, half and f"mixed_{half}"):
            scope.state_mapping.update({id(variable): value for variable, value in values.values()})
            return tf.cast(logits(model(images, training=False), images), images.dtype)

    return forward


def constants(model: keras.Model, half: str | None = None) -> Constants:
    """Return the weights as they are now, gradients ending there.

    Args:
        model: whose weights they are.
        half: type to which those are rounded that the layers would round in every call; None for none.
    """
    rounded = [v for v in model.variables if half and v._autocast and v.dtype == "float32"]
    values = {id(v): (v, tf.stop_gradient(v.value)) for v in [*model.trainable_variables, *rounded]}
    return values | {id(v): (v, tf.cast(values[id(v)][1], half)) for v in rounded}


@contextmanager
def precision(model: keras.Model, policy: str | None) -> Iterator[None]:
    """Inside, `model` is traced with the dtype policy, such as "mixed_bfloat16"; its weights stay as they are."""
    layers = [layer for layer in model._flatten_layers() if policy is not None]
    before = [layer.dtype_policy for layer in layers]
    try:
        for layer in layers:
            # a layer reads it while it is traced, so the graph keeps it when the layer has its own again
            layer.dtype_policy = keras.DTypePolicy(policy)
        yield
    finally:
        for layer, own in zip(layers, before, strict=True):
            layer.dtype_policy = own


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Inside, allow or forbid CUDA to round products of float32 to TF32, as it does by default; later as before."""
    setting = tf.config.experimental
    before = setting.tensor_float_32_execution_enabled()
    setting.enable_tensor_float_32_execution(allowed)
    try:
        yield
    finally:
        setting.enable_tensor_float_32_execution(before)


@contextmanager
def inputs_of(model: keras.Model, which: Callable[[keras.Layer], bool]) -> Iterator[list[tuple[keras.Layer, Tensor]]]:
    """Record the inputs of layers.

    Args:
        model: whose layers are watched, nested ones included.
        which: whether a layer is.

    Yields:
        A list that gets each watched layer with its input, in the order of the calls made inside.
    """
    calls: list[tuple[keras.Layer, Tensor]] = []
    layers = [layer for layer in model._flatten_layers() if which(layer)]

    def recording(layer: keras.Layer, call: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def recorded(*inputs: Any, **options: Any) -> Tensor:
            calls.append((layer, (*inputs, *options.values())[0]))
            return call(*inputs, **options)

        return recorded

    # a model with a new head watches its layers by itself, while they are watched from here, too
    before = [vars(layer).get("call") for layer in layers]
    for layer in layers:  # Keras has no hooks; an attribute of the object comes before the method of its class
        layer.call = recording(layer, layer.call)
    try:
        yield calls
    finally:
        for layer, own in zip(layers, before, strict=True):
            if own is None:
                del layer.call
            else:
                layer.call = own
