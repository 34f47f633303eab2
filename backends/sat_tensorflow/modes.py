"""Running a model without changing it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf
from tensorflow import Tensor

Forward = Callable[[Tensor], Tensor]
"""Images `(n, h, w, c)` in [0, 1] to logits, in any precision."""


def frozen(model: keras.Model) -> Forward:
    """`model` in evaluation mode as a function: it changes no variable, and gradients end at its weights.

    BatchNorm uses its running statistics, and no graph has what only weight gradients would need.
    """

    def forward(images: Tensor) -> Tensor:
        weights = [tf.stop_gradient(v.value) for v in model.trainable_variables]
        rest = [v.value for v in model.non_trainable_variables]
        return model.stateless_call(weights, rest, images, training=False)[0]

    return forward


@contextmanager
def precision(model: keras.Model, policy: str | None) -> Iterator[None]:
    """What is traced inside computes by the dtype policy, such as "mixed_bfloat16", with the weights as they are."""
    layers = [layer for layer in model._flatten_layers() if policy is not None]
    before = [layer.dtype_policy for layer in layers]
    try:
        for layer in layers:
            layer.dtype_policy = keras.DTypePolicy(policy)
        yield
    finally:
        for layer, own in zip(layers, before, strict=True):
            layer.dtype_policy = own


@contextmanager
def inputs_of(model: keras.Model, kind: type[keras.Layer]) -> Iterator[list[Tensor]]:
    """What the last layer of a kind in `model` is called with inside; stays empty if there is no such layer."""
    caught: list[Tensor] = []
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, kind)]
    if not layers:
        yield caught
        return
    call = layers[-1].call

    def catching(x: Tensor, *rest: Any, **options: Any) -> Tensor:
        caught.append(x)
        return call(x, *rest, **options)

    layers[-1].call = catching
    try:
        yield caught
    finally:
        del layers[-1].call
