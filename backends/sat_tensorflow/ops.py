"""The tensor operations that the outlines of the core are made of, in TensorFlow; images are `(n, h, w, c)`."""

from __future__ import annotations

import math
from typing import Any, final

import numpy as np
import tensorflow as tf
from tensorflow import Tensor

from sat_core.ascent import TensorOps


@final
class _Ops:
    """See `sat_core.ascent.TensorOps`."""

    backend = "tensorflow"

    def norm(self, x: Tensor, order: float) -> Tensor:
        axes = tuple(range(1, len(x.shape)))
        if order == math.inf:
            return tf.reduce_max(tf.abs(x), axis=axes, keepdims=True)
        return tf.sqrt(tf.reduce_sum(x * x, axis=axes, keepdims=True))

    def sign(self, x: Tensor) -> Tensor:
        return tf.sign(x)

    def clip(self, x: Tensor, low: Any, high: Any) -> Tensor:
        return tf.clip_by_value(x, low, high)

    def where(self, condition: Tensor, x: Any, y: Any) -> Tensor:
        return tf.where(condition, x, y)

    def maximum(self, x: Tensor, y: Tensor) -> Tensor:
        return tf.maximum(x, y)

    def full(self, images: Tensor, value: float) -> Tensor:
        return tf.fill(tf.shape(images)[:1], tf.constant(value, images.dtype))

    def tensor(self, array: np.ndarray, like: Tensor) -> Tensor:
        return tf.constant(array)

    def images(self, array: np.ndarray, like: Tensor) -> Tensor:
        return tf.constant(array, like.dtype)

    def layout(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        return tf.reshape(x, (-1, *shape))

    def join(self, first: Tensor, rest: Tensor) -> Tensor:
        return tf.concat([first, rest], axis=0)

    def take(self, x: Tensor, rows: Tensor) -> Tensor:
        return tf.gather(x, rows)

    def put(self, x: Tensor, rows: Tensor, values: Tensor) -> Tensor:
        return tf.tensor_scatter_nd_update(x, rows[:, None], values)

    def words(self, array: np.ndarray, like: Tensor) -> Tensor:
        return tf.constant(array)

    def word_range(self, n: int, like: Tensor) -> Tensor:
        return tf.cast(tf.range(n), tf.uint32)

    def xorshift(self, x: Tensor, bits: int) -> Tensor:
        return tf.bitwise.bitwise_xor(x, self.shift(x, bits))

    def times(self, x: Tensor, factor: int) -> Tensor:
        return x * tf.constant(factor, tf.uint32)

    def fraction(self, x: Tensor) -> Tensor:
        return tf.cast(self.shift(x, 8), tf.float32) * 2**-24

    # in 64 bits, since TensorFlow computes on integers of 32 on the host, even where there is a GPU

    def integer_range(self, n: int, like: Tensor) -> Tensor:
        return tf.cast(tf.range(n), tf.int64)

    def shift(self, x: Tensor, bits: int) -> Tensor:
        return tf.bitwise.right_shift(x, tf.constant(bits, x.dtype))

    def log_softmax(self, logits: Tensor) -> Tensor:
        return tf.nn.log_softmax(logits)

    def exp(self, x: Tensor) -> Tensor:
        return tf.exp(x)

    def log(self, x: Tensor) -> Tensor:
        return tf.math.log(x)

    def total(self, x: Tensor) -> Tensor:
        return tf.reduce_sum(x, axis=1)

    def most(self, x: Tensor) -> Tensor:
        return tf.reduce_max(x, axis=1)


OPS: TensorOps = _Ops()
