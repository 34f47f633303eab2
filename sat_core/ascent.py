"""Attacks on the tensors of any framework: the outline, of which a backend writes the loop and the gradient.

`sat_core.reference.attacks` is the oracle: the same attack in plain numpy, written independently.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol, final

import attrs
import numpy as np

from sat_core.geometry import NormOps, Tensor, get_geometry

SHARES = 16
"""Compiled code sees a number of attacked images that is a multiple of a sixteenth of the batch, so that about 16
graphs are made. A finer grid would trace more often, a coarser one would attack more copies in vain."""

State = tuple[Tensor, Tensor, Tensor]
"""x, the image of the highest loss by now, and that loss: what one step of `Ascent` hands to the next."""
Perturb = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""(images, labels, start) to adversarial images, as native tensors; start: δ of a random start, or None."""


class TensorOps(NormOps, Protocol):
    """The tensor operations that a backend offers to the outlines of the core."""

    def where(self, condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Return `x` where `condition` is true, else `y`."""

    def maximum(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the greater of each pair of numbers."""

    def full(self, images: Tensor, value: float) -> Tensor:
        """Return `value` for each of the images, in their type: `(n,)`."""

    def tensor(self, array: np.ndarray, like: Tensor) -> Tensor:
        """Return `array` on the device of `like`, in its own type."""

    def images(self, array: np.ndarray, like: Tensor) -> Tensor:
        """Return images `(n, h, w, c)` in the framework's own layout, on the device and in the type of `like`."""

    def take(self, x: Tensor, rows: Tensor) -> Tensor:
        """Return the entries of `x` that `rows`, int64 `(m,)`, names, in that order."""

    def put(self, x: Tensor, rows: Tensor, values: Tensor) -> Tensor:
        """Return a copy of `x` with `values` in place of its `rows`."""


@final
class Ascent:
    """Projected gradient ascent on the loss, inside the ε-ball and [0, 1].

    x_{i+1} = clip(x_0 + P_ε(x_i + α·v(∇ℓ(x_i)) - x_0), 0, 1), with v the ascent direction and P_ε the projection. A
    backend starts from `begin`, calls `step` with losses and gradients of its own, and takes `result`.

    Args:
        norm: name of the geometry.
        keep_best: return the image of the highest loss among x_0 … x_{steps-1} instead of x_steps.
    """

    def __init__(self, ops: TensorOps, norm: str, keep_best: bool) -> None:
        self._ops, self._keep_best = ops, keep_best
        self._geometry = get_geometry(norm, ops)

    def begin(self, x: Tensor) -> State:
        """Return the state before the first step."""
        # Any loss is above -∞, so x_0 is the first best, and an image whose loss never rises is returned as it started.
        return x, x, self._ops.full(x, -math.inf)

    def step(self, images: Tensor, state: State, losses: Tensor, gradient: Tensor, eps: Any, step_size: Any) -> State:
        """Return the state after a step. images: x_0 without a random start. losses, gradient: at the state's x."""
        x, best, best_loss = state
        if self._keep_best:
            # The losses are those before the step, so that x_steps is never compared, as in the authors' code:
            # of PGD-7, six steps count (docs/PROTOCOLS.md, g).
            best = self._ops.where((losses > best_loss)[:, None, None, None], x, best)
            best_loss = self._ops.maximum(losses, best_loss)
        moved = x + step_size * self._geometry.ascent_direction(gradient)
        # Around the clean image, wherever it started. To clip afterwards moves pixels towards it, so stays in the ball.
        return self._ops.clip(images + self._geometry.project(moved - images, eps), 0, 1), best, best_loss

    def result(self, state: State) -> Tensor:
        """Return the adversarial images."""
        return state[1] if self._keep_best else state[0]


@final
@attrs.frozen(eq=False)
class Members:
    """The rows of a batch that are attacked.

    Args:
        rows: int64 `(m,)`, the members of A, and after them copies of the first as padding.
        count: how many of `rows` are members.
        start: random start of each of the rows, float32 `(m, h, w, c)`, or None.
        whole: whether the rows are all of the batch, in its order, so that nothing has to be gathered.
    """

    rows: np.ndarray
    count: int
    start: np.ndarray | None
    whole: bool

    @classmethod
    def of(cls, mask: np.ndarray, start: np.ndarray | None = None, *, padded: bool = False) -> Members:
        """Find the members in a batch.

        Args:
            mask: bool `(n,)`, True for members of A.
            start: of the members, float32 `(|members|, h, w, c)`.
            padded: for compiled code, pad the rows to a multiple of a sixteenth of the batch. In evaluation mode
                images do not see each other, so that copies change nothing.

        >>> members = Members.of(np.arange(32) < 3, padded=True)
        >>> members.rows, members.count
        (array([0, 1, 2, 0]), 3)
        """
        rows = np.flatnonzero(mask)
        count, padding = len(rows), -len(rows) % max(1, len(mask) // SHARES) if padded else 0
        if padding:
            rows = np.concatenate([rows, np.repeat(rows[:1], padding)])
            start = None if start is None else np.concatenate([start, np.repeat(start[:1], padding, axis=0)])
        return cls(rows, count, start, whole=len(rows) == count == len(mask))


def attack_members(ops: TensorOps, perturb: Perturb, images: Tensor, labels: Tensor, members: Members) -> Tensor:
    """Return the mixed batch: `images` with adversarial examples in place of the members, clean elsewhere.

    Only the members go through the network, so that an attack costs in proportion to |A|.
    """
    if members.count == 0:
        return images
    start = None if members.start is None else ops.images(members.start, images)
    if members.whole:
        return perturb(images, labels, start)
    rows = ops.tensor(members.rows, images)
    adversarial = perturb(ops.take(images, rows), ops.take(labels, rows), start)
    return ops.put(images, rows[: members.count], adversarial[: members.count])
