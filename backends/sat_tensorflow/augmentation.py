"""Augmentation on tensors; the draws and index maps are made by `sat_core.augmentation`."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from tensorflow import Tensor

from sat_core.augmentation import BRIGHTNESS, CONTRAST, GREY, Augmentation, jitter_plan, move_map, rotation_map


def augment(images: Tensor, augmentation: Augmentation, draws: np.ndarray | None) -> Tensor:
    """Crop, flip, jitter, rotate float images `(n, h, w, c)` in [0, 1] as `draws` say."""
    if draws is None:
        return images
    h, w = images.shape[1:3]
    images = _gather(images, tf.constant(move_map(augmentation, draws, h, w)))
    jitter = jitter_plan(augmentation, draws)
    if jitter is not None:
        factors = tf.cast(jitter.factors, images.dtype)
        for place in range(jitter.order.shape[1]):
            images = _jitter(images, factors, tf.constant(jitter.order[:, place]))
    rotation = rotation_map(augmentation, draws, h, w)
    return images if rotation is None else _gather(images, tf.constant(rotation))


@tf.function(autograph=False)
def _gather(images: Tensor, source: Tensor) -> Tensor:
    _, h, w, c = images.shape
    padded = tf.pad(tf.reshape(images, (-1, h * w, c)), ((0, 0), (0, 1), (0, 0)))
    return tf.gather(padded, source, batch_dims=1)


@tf.function(autograph=False)
def _jitter(images: Tensor, factors: Tensor, operation: Tensor) -> Tensor:
    """One operation per image, chosen by `operation` `(n,)`: x·f + d·(1 - f) with d black, the mean grey, or grey."""
    f = tf.gather(factors, operation, batch_dims=1)[:, None, None, None]
    grey = images
    if images.shape[3] == 3:
        grey = tf.einsum("nhwc,c->nhw", images, tf.constant(GREY, images.dtype))[..., None]
    which = operation[:, None, None, None]
    dull = tf.where(which == CONTRAST, tf.reduce_mean(grey, axis=(1, 2), keepdims=True), grey)
    dull = tf.where(which == BRIGHTNESS, tf.zeros_like(dull), dull)
    return tf.clip_by_value(images * f + dull * (1 - f), 0, 1)
