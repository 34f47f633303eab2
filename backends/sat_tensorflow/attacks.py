"""Attacks on tensors; `sat_core.reference.attacks` is the oracle. The forwards are those of `sat_tensorflow.modes`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, final

import tensorflow as tf
from tensorflow import Tensor

from sat_core.sections import AttackSpec
from sat_tensorflow.geometry import GEOMETRIES
from sat_tensorflow.losses import attack_loss
from sat_tensorflow.modes import Forward


@final
class PGD:
    """Projected gradient ascent on the cross-entropy of one forward, as one graph for each norm and way to return.

    taken: makes that forward, and before it what is the same in all steps. ε, the size and the number of steps, and
    the number of images are arguments of the graph. xla compiles it by XLA, once for each number of images and of
    steps; its convolutions are slow inside of loops, so that the steps are unrolled. gradient_scale keeps float16
    gradients from vanishing; ascent directions do not depend on it.
    """

    def __init__(self, taken: Callable[[], Forward], *, xla: bool = False, gradient_scale: float = 1.0) -> None:
        self._taken, self._xla, self._scale = taken, xla, gradient_scale
        self._graph = cache(self._make)
        self.traces = 0
        """How many graphs were made."""

    def __call__(self, images: Tensor, labels: Tensor, attack: AttackSpec, start: Tensor | None = None) -> Tensor:
        """From `images` `(n, h, w, c)` (plus `start`), inside the ε-ball and [0, 1]; labels: int64 `(n,)`. The
        arithmetic on δ is that of `images`.
        """
        x = images if start is None else tf.clip_by_value(images + start, 0, 1)
        sizes = (tf.constant(size, images.dtype) for size in (attack.eps, attack.step_size))
        steps = attack.steps if self._xla else 0
        kind = (attack.norm, attack.keep_best, tuple(images.shape[1:]), images.dtype, steps)
        return self._graph(*kind)(images, x, labels, *sizes, tf.constant(attack.steps))

    def _make(self, norm: str, keep_best: bool, shape: tuple[int, ...], dtype: tf.DType, unrolled: int) -> Any:
        batch = tf.TensorSpec((None, *shape), dtype)
        size = tf.TensorSpec((), dtype)
        signature = [batch, batch, tf.TensorSpec((None,), tf.int64), size, size, tf.TensorSpec((), tf.int32)]

        def ascend(*tensors: Tensor) -> Tensor:
            self.traces += 1
            return _ascend(self._taken(), norm, keep_best, self._scale, *tensors, unrolled=unrolled)

        graph = tf.function(ascend, signature, autograph=False, jit_compile=self._xla or None)
        return graph.get_concrete_function()


def _ascend(
    forward: Forward,
    norm: str,
    keep_best: bool,
    gradient_scale: float,
    images: Tensor,
    x: Tensor,
    labels: Tensor,
    eps: Tensor,
    step_size: Tensor,
    steps: Tensor,
    *,
    unrolled: int,
) -> Tensor:
    geometry = GEOMETRIES[norm]

    def step(i: Any, x: Tensor, best: Tensor, best_loss: Tensor) -> tuple[Any, ...]:
        losses, gradient = _gradient(forward, x, labels, gradient_scale)
        if keep_best:
            better = losses > best_loss
            best = tf.where(better[:, None, None, None], x, best)
            best_loss = tf.maximum(losses, best_loss)
        moved = x + step_size * geometry.ascent_direction(gradient)
        return i + 1, tf.clip_by_value(images + geometry.project(moved - images, eps), 0, 1), best, best_loss

    values: tuple[Any, ...] = (0, x, x, tf.fill(tf.shape(labels), tf.constant(-float("inf"), x.dtype)))
    for _ in range(unrolled):
        values = step(*values)
    if not unrolled:
        values = tf.while_loop(lambda i, *_: i < steps, step, values, parallel_iterations=1)
    return values[2] if keep_best else values[1]


def _gradient(forward: Forward, x: Tensor, labels: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        losses = attack_loss(forward(x), labels)
        scaled = losses * scale
    return losses, tape.gradient(scaled, x)


def loss_gradient(
    forward: Forward,
    images: Tensor,
    labels: Tensor,
    loss: str = "ce",
    targets: Tensor | None = None,
    *,
    gradient_scale: float = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits `(n, k)`, losses `(n,)` and the gradient of their sum over the images `(n, h, w, c)`, in their type."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        logits = forward(images)
        losses = attack_loss(logits, labels, loss, targets)
        scaled = losses * gradient_scale
    return logits, losses, tape.gradient(scaled, images) / gradient_scale


def attack_members(
    pgd: PGD,
    images: Tensor,
    labels: Tensor,
    members: Tensor,
    attack: AttackSpec,
    start: Tensor | None = None,
    *,
    pad_to: int = 1,
) -> Tensor:
    """The mixed batch: `images` with adversarial examples at the positions `members` (int64), clean elsewhere.

    The gathered members are padded to a multiple of `pad_to` with copies of the first, so that compiled code sees few
    shapes; in evaluation mode examples do not meet, so padding changes nothing.
    """
    count = members.shape[0]
    if count == 0:
        return images
    padding = -count % pad_to
    padded = tf.pad(members, [[0, padding]], constant_values=members[0]) if padding else members
    if start is not None and padding:
        start = tf.concat([start, tf.repeat(start[:1], padding, axis=0)], axis=0)
    whole = count == len(images) and not padding
    x, y = (images, labels) if whole else (tf.gather(images, padded), tf.gather(labels, padded))
    adversarial = pgd(x, y, attack, start)
    return adversarial if whole else tf.tensor_scatter_nd_update(images, members[:, None], adversarial[:count])
