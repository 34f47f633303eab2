"""Mixup and CutMix of a batch; `sat_core.mixing` draws how, and `sat_core.reference.mixing` is the oracle."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf
from tensorflow import Tensor


def mix(images: Tensor, targets: Tensor, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Mix images `(n, h, w, c)` and targets `(n, k)` as ``partner``, ``share`` and ``box`` of a plan's step say."""
    partner, share = batch["partner"], tf.cast(batch["share"], images.dtype)
    others = tf.gather(images, partner)
    if "box" in batch:
        top, bottom, left, right = tf.unstack(batch["box"])
        rows, columns = (tf.range(size, dtype=tf.int64) for size in images.shape[1:3])
        inside = ((rows >= top) & (rows < bottom))[:, None] & ((columns >= left) & (columns < right))[None]
        mixed = tf.where(inside[None, :, :, None], others, images)
    else:
        mixed = share * images + (1 - share) * others
    return mixed, share * targets + (1 - share) * tf.gather(targets, partner)
