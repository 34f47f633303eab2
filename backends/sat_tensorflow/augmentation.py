"""Augmentation on tensors; `sat_core.augmentation` has the outline, the draws and the index maps."""

from __future__ import annotations

import tensorflow as tf
from tensorflow import Tensor

from sat_core.augmentation import BRIGHTNESS, CONTRAST, GREY, Augmentation, Moves
from sat_tensorflow.ops import OPS


def augment(images: Tensor, augmentation: Augmentation, moves: Moves) -> Tensor:
    """Crop, flip, jitter and rotate float images `(n, h, w, c)` in [0, 1] as `moves` say, which are tensors, too."""
    moves = Moves(tf.cast(moves.integers, tf.int64), moves.factors)  # see `sat_tensorflow.ops`
    return augmentation.apply(OPS, images, moves, images.shape[1:3], gather=_gather, jitter=_jitter)


def _gather(images: Tensor, source: Tensor) -> Tensor:
    _, h, w, c = images.shape
    padded = tf.pad(tf.reshape(images, (-1, h * w, c)), ((0, 0), (0, 1), (0, 0)))  # the pixel h·w is the zero outside
    return tf.gather(padded, source, batch_dims=1)


def _jitter(images: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    factors = tf.cast(factors, images.dtype)
    # each image has an order of its own (recipe, section 1.0), so at each place the operations differ within the batch
    for place in range(order.shape[1]):
        images = _blend(images, factors, order[:, place])
    return images


def _blend(images: Tensor, factors: Tensor, operation: Tensor) -> Tensor:
    """One operation per image, chosen by `operation` `(n,)`: x·f + d·(1 - f) with d black, the mean grey, or grey."""
    f = tf.gather(factors, operation, batch_dims=1)[:, None, None, None]
    # an image of one channel is its own grey, and saturation leaves it as it is
    grey = images
    if images.shape[3] == 3:
        grey = tf.einsum("nhwc,c->nhw", images, tf.constant(GREY, images.dtype))[..., None]
    which = operation[:, None, None, None]
    dull = tf.where(which == CONTRAST, tf.reduce_mean(grey, axis=(1, 2), keepdims=True), grey)
    dull = tf.where(which == BRIGHTNESS, tf.zeros_like(dull), dull)
    return tf.clip_by_value(images * f + dull * (1 - f), 0, 1)
