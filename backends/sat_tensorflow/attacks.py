"""Attacks on tensors; `sat_core.ascent` has their outline and `sat_core.reference.attacks` is the oracle.

The forwards are those of `sat_tensorflow.modes`, which run in evaluation mode.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, final

import attrs
import tensorflow as tf
from tensorflow import Tensor

from sat_core.ascent import Ascent, called, objective, strongest
from sat_core.attack_kinds import ATTACKS
from sat_core.attack_spec import AttackSpec
from sat_tensorflow.losses import attack_loss
from sat_tensorflow.modes import Forward
from sat_tensorflow.ops import OPS


@final
@attrs.frozen
class _Kind:
    """What a graph of an attack is made for; all else is an argument of it.

    Attributes:
        norm, loss, keep_best, projects: Of the attack.
        shape: Of an image.
        dtype: Of images.
        classes: Of targets; None for labels.
        unrolled: Number of steps of a graph without a loop; 0 for one with a loop.
        foreign: The attack, if its function is that of a plug-in, which may read all of it.
        started: Whether that function gets a random start.
    """

    norm: str
    loss: str
    keep_best: bool
    projects: bool
    shape: tuple[int, ...]
    dtype: tf.DType
    classes: int | None
    unrolled: int
    foreign: AttackSpec | None
    started: bool


@final
class PGD:
    """Projected gradient ascent, or the attack of a plug-in, as one graph for each norm, loss and way to return.

    ε, the size and the number of steps, and the number of images are arguments of the graph, so that a change of them
    traces nothing. A plug-in's function is called while a graph is traced, one for each setting of its attack.

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

    def __call__(
        self,
        images: Tensor,
        labels: Tensor,
        attack: AttackSpec,
        start: Tensor | None = None,
        strength: Tensor | None = None,
    ) -> Tensor:
        """Attack inside the ε-ball and [0, 1].

        Args:
            images: `(n, h, w, c)` in [0, 1]; the arithmetic on δ is in their type, whatever the forward computes in.
            labels: int64 `(n,)`, or targets `(n, k)`.
            attack: norm, radius, loss and steps.
            start: δ of a random start, of the shape of `images`.
            strength: factor of ε and step size, float64; None for 1.
        """
        sizes = [tf.constant(size, images.dtype) for size in (attack.eps, attack.step_size)]
        if strength is not None:
            sizes = [tf.cast(size * strength, images.dtype) for size in (attack.eps, attack.step_size)]
        foreign = attack if ATTACKS.get(attack.kind).functions else None
        x = images if start is None else start
        if start is not None and foreign is None:
            x = tf.clip_by_value(images + start, 0, 1)
        kind = _Kind(
            norm=attack.norm,
            loss=attack.loss,
            keep_best=attack.keep_best,
            projects=attack.projects,
            shape=tuple(images.shape[1:]),
            dtype=images.dtype,
            classes=labels.shape[1] if labels.shape.rank == 2 else None,
            unrolled=attack.steps if self._xla else 0,
            foreign=foreign,
            started=start is not None,
        )
        return self._graph(kind)(images, x, labels, *sizes, tf.constant(attack.steps))

    def strongest(
        self,
        images: Tensor,
        labels: Tensor,
        attack: AttackSpec,
        starts: Sequence[Tensor | None],
        strength: Tensor | None = None,
    ) -> Tensor:
        """Attack from each of the starts, and return the adversarial examples of the highest loss."""
        tries = [self(images, labels, attack, start, strength) for start in starts]
        if len(tries) == 1:
            return tries[0]
        forward = self._frozen()
        labels, loss = objective(OPS, forward, images, labels, attack.loss)
        return strongest(OPS, tries, [attack_loss(forward(x), labels, loss) for x in tries])

    def _make(self, kind: _Kind) -> Any:
        batch, size = tf.TensorSpec((None, *kind.shape), kind.dtype), tf.TensorSpec((), kind.dtype)
        labels = tf.TensorSpec((None,), tf.int64)
        if kind.classes is not None:
            labels = tf.TensorSpec((None, kind.classes), kind.dtype)
        signature = [batch, batch, labels, size, size, tf.TensorSpec((), tf.int32)]
        run = _ascend if kind.foreign is None else _called

        def attacked(*tensors: Tensor) -> Tensor:
            self.traces += 1
            # in the graph, but before its loop: weights are folded once per attack, not once per step
            return run(self._frozen(), kind, self._scale, *tensors)

        # the function and not its concrete graph, which would belong to the graph that is traced just now
        return tf.function(attacked, signature, autograph=False, jit_compile=self._xla or None)


def _ascend(
    forward: Forward,
    kind: _Kind,
    gradient_scale: float,
    images: Tensor,
    x: Tensor,
    labels: Tensor,
    eps: Tensor,
    step_size: Tensor,
    steps: Tensor,
) -> Tensor:
    ascent = Ascent(OPS, kind.norm, kind.keep_best, kind.projects)
    labels, loss = objective(OPS, forward, images, labels, kind.loss)

    def step(i: Any, *state: Tensor) -> tuple[Any, ...]:
        losses, gradient = _gradient(forward, state[0], labels, loss, gradient_scale)
        return i + 1, *ascent.step(images, state, losses, gradient, eps, step_size)

    values: tuple[Any, ...] = (0, *ascent.begin(x))
    for _ in range(kind.unrolled):
        values = step(*values)
    if not kind.unrolled:
        values = tf.while_loop(lambda i, *_: i < steps, step, values, parallel_iterations=1)
    return ascent.result(values[1:])


def _called(
    forward: Forward,
    kind: _Kind,
    gradient_scale: float,
    images: Tensor,
    start: Tensor,
    labels: Tensor,
    eps: Tensor,
    *_: Tensor,
) -> Tensor:
    """Call the function of a plug-in."""
    attack = kind.foreign
    assert attack is not None  # noqa: S101
    goal = objective(OPS, forward, images, labels, kind.loss)

    def gradient(x: Tensor) -> tuple[Tensor, Tensor]:
        losses, scaled = _gradient(forward, x, *goal, gradient_scale)
        return losses, scaled / gradient_scale

    return called(OPS, gradient, images, labels, attack, start if kind.started else None, eps)


def _gradient(forward: Forward, x: Tensor, labels: Tensor, loss: str, scale: float) -> tuple[Tensor, Tensor]:
    """Return losses `(n,)`, and the gradient of `scale` times their sum."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        losses = attack_loss(forward(x), labels, loss)
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
