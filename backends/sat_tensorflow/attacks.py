"""Attacks on tensors; `sat_core.ascent` has their outline and `sat_core.reference.attacks` is the oracle.

The forwards are those of `sat_tensorflow.modes`, which run in evaluation mode.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, final

import tensorflow as tf
from tensorflow import Tensor

from sat_core.ascent import Ascent
from sat_core.attack_spec import AttackSpec
from sat_tensorflow.losses import attack_loss
from sat_tensorflow.modes import Forward
from sat_tensorflow.ops import OPS


@final
class PGD:
    """Projected gradient ascent on the cross-entropy of one forward, as one graph for each norm and way to return.

    ε, the size and the number of steps, and the number of images are arguments of the graph, so that a change of them
    traces nothing.

    Args:
        frozen: makes the forward, and before it what is the same in all steps, such as folded weights.
        xla: compile the graph by XLA, once for each number of images and of steps; its convolutions are slow inside of
            loops, so that the steps are unrolled.
        gradient_scale: losses are multiplied with it, which keeps float16 gradients from vanishing; ascent directions
            do not depend on it.
    """

    def __init__(self, frozen: Callable[[], Forward], *, xla: bool = False, gradient_scale: float = 1.0) -> None:
        self._frozen, self._xla, self._scale = frozen, xla, gradient_scale
        self._graph = cache(self._make)
        self.traces = 0
        """Number of graphs that were made."""

    def __call__(self, images: Tensor, labels: Tensor, attack: AttackSpec, start: Tensor | None = None) -> Tensor:
        """Attack inside the ε-ball and [0, 1].

        Args:
            images: `(n, h, w, c)` in [0, 1]; the arithmetic on δ is in their type, whatever the forward computes in.
            labels: int64 `(n,)`.
            attack: norm, radius and steps.
            start: δ of a random start, of the shape of `images`.
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
            # in the graph, but before its loop: weights are folded once per attack, not once per step
            return _ascend(self._frozen(), norm, keep_best, self._scale, *tensors, unrolled=unrolled)

        # the function and not its concrete graph, which would belong to the graph that is traced just now
        return tf.function(ascend, signature, autograph=False, jit_compile=self._xla or None)


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
    ascent = Ascent(OPS, norm, keep_best)

    def step(i: Any, *state: Tensor) -> tuple[Any, ...]:
        losses, gradient = _gradient(forward, state[0], labels, gradient_scale)
        return i + 1, *ascent.step(images, state, losses, gradient, eps, step_size)

    values: tuple[Any, ...] = (0, *ascent.begin(x))
    for _ in range(unrolled):
        values = step(*values)
    if not unrolled:
        values = tf.while_loop(lambda i, *_: i < steps, step, values, parallel_iterations=1)
    return ascent.result(values[1:])


def _gradient(forward: Forward, x: Tensor, labels: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Return losses `(n,)`, and the gradient of `scale` times their sum."""
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
    """Return logits `(n, k)`, losses `(n,)` and the gradient of their sum over the images, all in the images' type."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        logits = forward(images)
        losses = attack_loss(logits, labels, loss, targets)
        scaled = losses * gradient_scale
    # unlike in `PGD` the caller sees the gradient's size; it is in the images' type, in which it cannot vanish
    return logits, losses, tape.gradient(scaled, images) / gradient_scale
