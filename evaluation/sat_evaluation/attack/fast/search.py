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
"""Searches go on while what is missing is at most this share of what they have gained."""
TINY = 1e-12
"""Added before divisions, as in AutoAttack. Training has 1e-10; here that would shorten the steps of networks whose
gradients nearly vanish, which is what these attacks have to cope with."""


@final
class Ops:
    """See `sat_core.geometry.NormOps`. A backend has the same for its own tensors, and none is imported here."""

    def norm(self, x: Tensor, order: float) -> Tensor:
        return torch.linalg.vector_norm(x, order, dim=tuple(range(1, x.ndim)), keepdim=True)

    def sign(self, x: Tensor) -> Tensor:
        return x.sign()

    def clip(self, x: Tensor, low: float, high: float) -> Tensor:
        return x.clamp(low, high)


@final
class Search:
    """A batch under attack. Searches move *rows*, images that start from an example, their owner: an example may have
    several rows at a time, one per target class. All of them are dropped as soon as one is misclassified.

    found: bool `(n,)`. adversarial: `(n, c, h, w)`, the point that was found, or the image itself.
    """

    def __init__(self, forward: Forward, x: Tensor, y: Tensor, geometry: Geometry, eps: float) -> None:
        self.forward, self.x, self.y, self.geometry, self.eps = forward, x, y, geometry, eps
        self.found = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        self.adversarial = x.clone()

    def alive(self) -> Tensor:
        """Numbers of the examples that are not broken."""
        return (~self.found).nonzero()[:, 0]

    def gradient(self, x: Tensor, loss: Loss) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, losses, and the gradient of each loss over its image: one way forward, one back."""
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            logits = self.forward(x)
            losses = loss(logits)
            (gradient,) = torch.autograd.grad(losses.sum(), x)
        return logits.detach(), losses.detach(), gradient

    def remaining(self, owner: Tensor, x: Tensor, hit: Tensor, lost: Tensor | None) -> Tensor | None:
        """Take over the rows `x` of `owner` that are a `hit`, the first of each example. Returns which rows go on, bool
        `(r,)`: those of examples that are not broken, without the `lost` ones; None if all do.
        """
        rows = hit.nonzero()[:, 0]
        if len(rows) > 0:
            first = torch.full_like(self.y, len(owner)).scatter_reduce(0, owner[rows], rows, "amin")
            chosen = first[first < len(owner)]
            self.found[owner[chosen]] = True
            self.adversarial[owner[chosen]] = x[chosen]
        elif lost is None or not lost.any():
            return None
        return ~self.found[owner] if lost is None else ~(self.found[owner] | lost)

    def hopeless(self, gap: Tensor, gained: Tensor) -> Tensor:
        """Which rows will not close the `gap` that is left, going by what they have `gained` by now, in the same unit.

        A search gains most in its first steps. In trials on digits, of four small networks with and without adversarial
        training, one of them also with vanishing gradients, no example was broken of which more than 0.07 of that was
        missing at the first look (Square: 0.19), and most rows miss more than half. What has gained nothing goes on.
        """
        return (gained > 0) & (gap > PATIENCE * gained)

    def project(self, x: Tensor, point: Tensor) -> Tensor:
        """`point` pulled into the ball around `x`, then into [0, 1]."""
        return (x + self.geometry.project(point - x, self.eps)).clamp_(0, 1)

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """A random δ of norm eps, `(1, c, h, w)`: uniform on the sphere, or in the cube and then scaled."""
        if self.geometry.name == "L2":
            draw = torch.randn((1, *shape), generator=generator)
        else:
            draw = 2 * torch.rand((1, *shape), generator=generator) - 1
        return (self.eps * draw / self.geometry.size(draw)).to(self.x)


def margin(logits: Tensor, y: Tensor, target: Tensor | None = None) -> Tensor:
    """The label's logit minus the target's, or the highest other one."""
    own = logits.gather(1, y[:, None])
    if target is not None:
        return (own - logits.gather(1, target[:, None]))[:, 0]
    return (own - logits.scatter(1, y[:, None], -torch.inf).amax(1, keepdim=True))[:, 0]
