"""Attacks on the tensors of any framework: the outline, of which a backend writes the loop and the gradient.

`sat_core.reference.attacks` is the oracle: the same attack in plain numpy, written independently.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, final

import numpy as np

from sat_core.attack_kinds import ATTACKS
from sat_core.attack_spec import AttackSpec
from sat_core.augmentation import MoveOps
from sat_core.geometry import NormOps, Tensor, get_geometry
from sat_core.member_losses import LossOps
from sat_core.noise import WordOps, uniforms

SHARES = 16
"""Compiled and captured code sees a number of attacked images that is a multiple of a sixteenth of the batch, so that
about 16 graphs are made. A finer grid would make more of them, a coarser one would attack more images in vain."""

State = tuple[Tensor, Tensor, Tensor]
"""x, the image of the highest loss by now, and that loss: what one step of `Ascent` hands to the next."""
Goal = tuple[Tensor, str]
"""Labels `(n,)` or targets `(n, k)`, and the loss of them that an attack maximises."""
Starts = Sequence[Tensor | None]
"""δ of the random start of each run of an attack; one None without."""
Perturb = Callable[[Tensor, Tensor, Starts], Tensor]
"""(images, labels or targets, starts) to adversarial images, as native tensors."""


class TensorOps(NormOps, WordOps, MoveOps, LossOps, Protocol):
    """The tensor operations that a backend offers to the outlines of the core."""

    def maximum(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the greater of each pair of numbers."""

    def full(self, images: Tensor, value: float) -> Tensor:
        """Return `value` for each of the images, in their type: `(n,)`."""

    def tensor(self, array: np.ndarray, like: Tensor) -> Tensor:
        """Return `array` on the device of `like`, in its own type."""

    def images(self, array: np.ndarray, like: Tensor) -> Tensor:
        """Return images `(n, h, w, c)` in the framework's own layout, on the device and in the type of `like`."""

    def layout(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return pixels `(n, h·w·c)` as images of the framework's own layout; shape: `(h, w, c)`."""

    def join(self, first: Tensor, rest: Tensor) -> Tensor:
        """Return the images of both, one after the other."""

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
        projects: whether steps end inside the ball; without, P_ε is the identity.
    """

    def __init__(self, ops: TensorOps, norm: str, keep_best: bool, projects: bool = True) -> None:
        self._ops, self._keep_best, self._projects = ops, keep_best, projects
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
        delta = x + step_size * self._geometry.ascent_direction(gradient) - images
        # Around the clean image, wherever it started. To clip afterwards moves pixels towards it, so stays in the ball.
        inside = self._geometry.project(delta, eps) if self._projects else delta
        return self._ops.clip(images + inside, 0, 1), best, best_loss

    def result(self, state: State) -> Tensor:
        """Return the adversarial images."""
        return state[1] if self._keep_best else state[0]


def objective(ops: TensorOps, forward: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor, loss: str) -> Goal:
    """Return labels or targets, and the loss, that an attack with the ``attack.loss`` maximises.

    KL(p ‖ p') differs from the cross-entropy with the targets p by the entropy of p, which no attack changes.

    Args:
        ops: of the framework.
        forward: images to logits, whose gradients nobody takes.
        images: clean, `(n, …)`.
        labels: int64 `(n,)`, or targets `(n, k)`.
        loss: one of `sat_core.attack_spec.OBJECTIVES`.
    """
    return (ops.exp(ops.log_softmax(forward(images))), "ce") if loss == "kl" else (labels, loss)


def called(
    ops: TensorOps,
    gradient: Callable[[Tensor], tuple[Tensor, Tensor]],
    images: Tensor,
    labels: Tensor,
    attack: AttackSpec,
    start: Tensor | None,
    eps: Any,
) -> Tensor:
    """Return what the function of a plug-in makes of images, inside [0, 1] and, if the attack projects, the ε-ball.

    Args:
        ops: of the framework.
        gradient, images, labels, attack, start: what the function gets; see `sat_core.attack_kinds.AttackKind`.
        eps: radius, a number or a scalar tensor.

    Raises:
        SpecError: it fails, or returns another shape than that of the images.
    """
    kind = ATTACKS.get(attack.kind)
    made = kind.call(kind.function(ops.backend), gradient, images, labels, attack, start)
    # of axes that change from call to call, TensorFlow knows the number only
    shape = tuple(images.shape)
    words = ", ".join("n" if length is None else str(length) for length in shape)
    kind.check_shape(made, shape, f"images of shape ({words})")
    delta = made - images
    return ops.clip(images + (get_geometry(attack.norm, ops).project(delta, eps) if attack.projects else delta), 0, 1)


def strongest(ops: TensorOps, tries: Sequence[Tensor], losses: Sequence[Tensor]) -> Tensor:
    """Return, for each image, that of several adversarial examples with the highest loss; the first of equal ones.

    Args:
        ops: of the framework.
        tries: adversarial examples of the same images, one after the other.
        losses: of each of them, `(n,)`.
    """
    best, highest = tries[0], losses[0]
    for x, loss in zip(tries[1:], losses[1:], strict=True):
        best = ops.where((loss > highest)[:, None, None, None], x, best)
        highest = ops.maximum(loss, highest)
    return best


def padded(members: int, batch: int) -> int:
    """Return how many images compiled or captured code attacks: the next multiple of a sixteenth of the batch.

    >>> padded(35, 128), padded(0, 128), padded(5, 6)
    (40, 0, 5)
    """
    share = max(1, batch // SHARES)
    return min(-(-members // share) * share, batch)


def random_start(ops: TensorOps, norm: str, keys: Tensor, image_shape: tuple[int, ...], eps: Any) -> Tensor:
    """Return δ of the random start of each image, float32, which `sat_core.threat` defines.

    Args:
        ops: of the framework.
        norm: name of the geometry.
        keys: words `(n, 2)`, as `sat_core.noise.example_keys` makes them.
        image_shape: `(h, w, c)`.
        eps: radius, a number or a scalar tensor of float32.
    """
    pixels = math.prod(image_shape)
    drawn = uniforms(ops, keys, pixels + 1)
    cube = ops.layout(drawn[:, :pixels] * 2 - 1, image_shape)
    return get_geometry(norm, ops).start(cube, drawn[:, pixels][:, None, None, None], eps)


def random_starts(
    ops: TensorOps, attack: AttackSpec, keys: Tensor, image_shape: tuple[int, ...], radius: Any
) -> list[Tensor]:
    """Return δ of the random start of each restart, float32. keys: words `(n, 2·restarts)`; radius: as `eps` above."""
    of_restart = [keys[:, 2 * restart : 2 * restart + 2] for restart in range(attack.restarts)]
    return [random_start(ops, attack.norm, words, image_shape, radius) for words in of_restart]


def attack_first(
    ops: TensorOps,
    perturb: Perturb,
    images: Tensor,
    labels: Tensor,
    starts: Starts,
    size: Any,
    members: Tensor | None,
) -> Tensor:
    """Return the mixed batch: adversarial examples of the members, which come first in the batch, and clean images.

    Only the first `size` images go through the network, so that an attack costs in proportion to |A|.

    Args:
        ops: of the framework.
        perturb: the attack.
        images: of the batch.
        labels: of the batch, or targets.
        starts: of the first `size` images.
        size: images that are attacked, at least one; all members, and for compiled or captured code some more. A number
            or, in graphs that are made for any, a tensor.
        members: number of members, as a tensor, to tell them from the images that pad; None if there are no others.
    """
    first = images[:size]
    adversarial = perturb(first, labels[:size], starts)
    if members is not None:
        # In evaluation mode images do not see each other, so that attacking others in vain changes nothing.
        is_member = ops.integer_range(size, members) < members
        adversarial = ops.where(is_member[:, None, None, None], adversarial, first)
    whole = isinstance(size, int) and size == len(images)
    return adversarial if whole else ops.join(adversarial, images[size:])


def attack_members(
    ops: TensorOps,
    perturb: Perturb,
    images: Tensor,
    labels: Tensor,
    mask: np.ndarray,
    starts: Sequence[np.ndarray | None],
) -> Tensor:
    """Return the mixed batch of a caller's own loop, whose members may be anywhere in it.

    Args:
        ops: of the framework.
        perturb: the attack.
        images: of the batch.
        labels: of the batch.
        mask: bool `(n,)`, True for members of A.
        starts: δ of the members for each restart, float32 `(|members|, h, w, c)`; one None without.
    """
    if not mask.any():
        return images
    deltas = [None if start is None else ops.images(start, images) for start in starts]
    if mask.all():
        return perturb(images, labels, deltas)
    rows = ops.tensor(np.flatnonzero(mask), images)
    return ops.put(images, rows, perturb(ops.take(images, rows), ops.take(labels, rows), deltas))
