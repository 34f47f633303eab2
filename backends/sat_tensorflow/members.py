"""Attacks on the members of A in a batch, and Free-AT's perturbation of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import numpy as np
import tensorflow as tf
from tensorflow import Tensor

from sat_core.ascent import Starts, attack_first, random_starts
from sat_core.attack_spec import AttackSpec
from sat_core.classifier import State
from sat_core.geometry import get_geometry
from sat_core.trainer import DELTA
from sat_tensorflow.attacks import PGD
from sat_tensorflow.ops import OPS

Shape = tuple[int, int, int]


@final
class Members:
    """Attacks the members of a batch, which come first in it.

    Args:
        pgd: Attacks images.
        attack: How.
        image_shape: `(h, w, c)`.
        padded: Whether more images are attacked than there are members, in vain.
    """

    def __init__(self, pgd: PGD, attack: AttackSpec, image_shape: Shape, *, padded: bool) -> None:
        self._pgd, self._attack, self._shape, self._padded = pgd, attack, image_shape, padded

    def __call__(self, batch: Mapping[str, Tensor], size: Tensor) -> Tensor:
        """Return the mixed batch, of which the first `size` images are attacked.

        Args:
            batch: ``images``, ``labels``, ``members``, and where there are any ``partner``, ``targets``, ``keys`` and
                ``strength``.
            size: At least 1.
        """
        images, strength = batch["images"], batch.get("strength")
        starts = self._starts(batch, size)

        def perturb(x: Tensor, y: Tensor, starts: Starts) -> Tensor:
            return self._pgd.strongest(x, y, self._attack, starts, strength)

        # without smoothing; of mixed images there is no label
        labels = batch["targets"] if "partner" in batch else batch["labels"]
        members = batch["members"] if self._padded else None
        return attack_first(OPS, perturb, images, labels, starts, size, members)

    def _starts(self, batch: Mapping[str, Tensor], size: Tensor) -> Starts:
        if "keys" not in batch:
            return [None]
        attack, radius = self._attack, self._attack.start_radius
        if "strength" in batch:
            radius = tf.cast(radius * batch["strength"], tf.float32)
        starts = random_starts(OPS, attack, batch["keys"][:size], self._shape, radius)
        return [tf.cast(start, batch["images"].dtype) for start in starts]


@final
class Replayed:
    """δ of Free-AT by position in the batch, which each training step moves (Shafahi et al. 2019, algorithm 1).

    Args:
        attack: Its radius and step size.
        shape: Of a batch, `(n, h, w, c)`.
        dtype: Of images.
    """

    def __init__(self, attack: AttackSpec, shape: tuple[int, ...], dtype: str) -> None:
        self._attack, self._geometry = attack, get_geometry(attack.norm, OPS)
        self._delta = tf.Variable(tf.zeros(shape, dtype))

    def __call__(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the mixed batch."""
        images = batch["images"]
        return tf.where(_is_member(batch), tf.clip_by_value(images + self._delta, 0, 1), images)

    def move(self, batch: Mapping[str, Tensor], gradient: Tensor, scale: Tensor) -> None:
        """Make a step of δ. gradient: of the loss times `scale`, over the mixed batch."""
        images, dtype = batch["images"], gradient.dtype
        # of Σ ℓ: a gradient that is divided by Σ w could be lost in the constant beside norms
        share = tf.cast(batch["weights"], dtype) / tf.cast(batch["totals"], dtype) * tf.cast(scale, dtype)
        eps, step_size = (tf.constant(size, dtype) for size in (self._attack.eps, self._attack.step_size))
        if "strength" in batch:
            eps, step_size = (size * tf.cast(batch["strength"], dtype) for size in (eps, step_size))
        direction = self._geometry.ascent_direction(gradient / share[:, None, None, None])
        inside = self._geometry.project(self._delta + step_size * direction, eps)
        moved = tf.clip_by_value(images + inside, 0, 1) - images
        self._delta.assign(tf.where(_is_member(batch), moved, self._delta))

    def state(self) -> State:
        """Return δ `(n, h, w, c)`."""
        return {DELTA: self._delta.numpy()}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over what `state` returned, which the caller has checked."""
        self._delta.assign(state[DELTA])


def _is_member(batch: Mapping[str, Tensor]) -> Tensor:
    n = batch["weights"].shape[0]
    return (tf.range(n, dtype=tf.int64) < batch["members"])[:, None, None, None]
