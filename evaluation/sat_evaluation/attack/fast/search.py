"""What the searches share: the examples of a batch, which of them are broken, and moves inside the ball."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch
from torch import Tensor

from sat_core.geometry import Geometry

Forward = Callable[[Tensor], Tensor]
Loss = Callable[[Tensor], Tensor]
"""Logits `(r, k)` to losses `(r,)`."""
PATIENCE = 0.5
"""A search goes on while the gap that is left is at most this share of what it has closed by then."""
LOOK = 10
"""Iterations between two looks at the rows on a GPU. Each look waits for all that is queued, some 20 µs in which the
device idles, and copies the rows that go on; a row that is broken costs at most this many passes more, of about a
hundred."""
TINY = 1e-12
"""Added before divisions, as in AutoAttack. Training has 1e-10; here that would shorten the steps of networks whose
gradients nearly vanish, which is what these attacks have to cope with."""


def interval(device: torch.device) -> int:
    """Return the number of iterations after which a search looks which rows are broken, and drops them.

    On a CPU a look costs nothing, and dropping a row saves its next pass. A GPU has to be waited for, as the host does
    not know how many rows are left; so several iterations are queued, in which broken rows stay where they are.
    """
    return 1 if device.type == "cpu" else LOOK


@final
class Ops:
    """See `sat_core.geometry.NormOps`. A backend has the same for its own tensors, and none is imported here."""

    backend = "torch"

    def norm(self, x: Tensor, order: float) -> Tensor:
        return torch.linalg.vector_norm(x, order, dim=tuple(range(1, x.ndim)), keepdim=True)

    def sign(self, x: Tensor) -> Tensor:
        return x.sign()

    def clip(self, x: Tensor, low: float, high: float) -> Tensor:
        return x.clamp(low, high)


@final
class Search:
    """A batch under attack.

    Searches move *rows*: images that start from an example, their owner. An example may have several rows at a time,
    one per target class. All of them are dropped at the first look after one is misclassified.

    Attributes:
        interval: see the function of that name.
        broken: bool `(n,)`, whether an adversarial example was found.
        adversarial: `(n, c, h, w)`, that example, or the image itself.
    """

    def __init__(self, forward: Forward, x: Tensor, y: Tensor, geometry: Geometry, eps: float) -> None:
        self.forward, self.x, self.y, self.geometry, self.eps = forward, x, y, geometry, eps
        self.interval = interval(x.device)
        self.broken = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        self.adversarial = x.clone()

    def alive(self) -> Tensor:
        """Return the numbers of the examples that are not broken."""
        return (~self.broken).nonzero()[:, 0]

    def gradient(self, x: Tensor, loss: Loss) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, losses, and the gradient of each loss over its image, by one forward and one backward pass."""
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            logits = self.forward(x)
            losses = loss(logits)
            (gradient,) = torch.autograd.grad(losses.sum(), x)
        return logits.detach(), losses.detach(), gradient

    def due(self, iteration: int) -> bool:
        """Tell whether it is time for a look, without looking."""
        return iteration % self.interval == 0

    def remaining(self, owner: Tensor, x: Tensor, hit: Tensor, lost: Tensor | None) -> Tensor | None:
        """Look: record adversarial examples, and say which rows go on. On a GPU this waits.

        Args:
            owner: the example of each row, int64 `(r,)`.
            x: where the rows are, `(r, c, h, w)`.
            hit: whether a row is an adversarial example, bool `(r,)`; the first row of each example is recorded.
            lost: rows that are given up, bool `(r,)`, or None.

        Returns:
            The numbers of rows of examples that are not broken and that are not lost, int64; None if all go on, so that
            the caller need not copy anything.
        """
        rows = hit.nonzero()[:, 0]
        if len(rows) > 0:
            first = torch.full_like(self.y, len(owner)).scatter_reduce(0, owner[rows], rows, "amin")
            chosen = first[first < len(owner)]
            self.broken[owner[chosen]] = True
            self.adversarial[owner[chosen]] = x[chosen]
        elif lost is None or not lost.any():
            return None
        gone = self.broken[owner] if lost is None else self.broken[owner] | lost
        # numbers and not a mask: indexing with a mask waits for its sum, for every tensor anew
        return (~gone).nonzero()[:, 0]

    def hold(self, hit: Tensor, x: Tensor, moved: Tensor) -> Tensor:
        """Return where rows go: to `moved`, but rows that have hit stay at `x` until the next look records them."""
        if self.interval == 1:
            return moved  # they have left already
        return torch.where(hit.reshape(-1, *[1] * (x.ndim - 1)), x, moved)

    def hopeless(self, gap: Tensor, gained: Tensor) -> Tensor:
        """Tell which rows will not close the gap that is left.

        A search gains most in its first steps. In trials on digits, of four small networks with and without
        adversarial training, one of them also with vanishing gradients, no example was broken whose gap at the first
        check was more than 0.07 of what it had gained (Square: 0.19), and most rows have a gap of more than half. Rows
        that have gained nothing go on.

        Args:
            gap: what is left, `(r,)`.
            gained: what the row has closed by now, in the same unit.
        """
        return (gained > 0) & (gap > PATIENCE * gained)

    def project(self, x: Tensor, point: Tensor) -> Tensor:
        """Pull `point` into the ball around `x`, then into [0, 1]."""
        return (x + self.geometry.project(point - x, self.eps)).clamp_(0, 1)

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Draw a δ of norm eps, `(1, c, h, w)`: uniform on the sphere for L2, in the cube and then scaled for Linf."""
        if self.geometry.name == "L2":
            # the normal distribution has no preferred direction
            draw = torch.randn((1, *shape), generator=generator)
        else:
            draw = 2 * torch.rand((1, *shape), generator=generator) - 1
        return (self.eps * draw / self.geometry.size(draw)).to(self.x)


def margin(logits: Tensor, y: Tensor, target: Tensor | None = None) -> Tensor:
    """Return the label's logit minus the target's, or minus the highest other one: negative if misclassified."""
    own = logits.gather(1, y[:, None])
    if target is not None:
        return (own - logits.gather(1, target[:, None]))[:, 0]
    return (own - logits.scatter(1, y[:, None], -torch.inf).amax(1, keepdim=True))[:, 0]
