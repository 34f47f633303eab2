"""Square: random search with squares of shrinking size, which looks at logits only (Andriushchenko et al. 2020).

Without gradients it cannot be fooled by a network that masks them. A candidate changes one square of the image and is
kept if the margin falls.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from sat_evaluation.attack.fast.search import TINY, Search, margin

FIRST_SHARE = 0.8
"""Share of the image that the first squares cover, as in AutoAttack."""
# AutoAttack's, made for 10,000 queries. It has 5000 and does not rescale them, so that the last two are not reached
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries after which that share is halved."""
CHECKED = 1000
"""Queries between two checks of the progress."""


def square(search: Search, queries: int, rng: np.random.Generator) -> None:
    """Attack all examples.

    Places and signs of the squares are drawn once for all of them. A square that changes nothing, because every pixel
    in it has its sign already, needs no forward pass; it counts as a query.

    Args:
        search: the batch; records what is broken.
        queries: of each example.
        rng: draws the squares.
    """
    move = _MOVES[search.geometry.name](search, rng)
    owner = search.alive()
    x0, y = search.x[owner], search.y[owner]
    x = move.first(x0)
    first, least = None, torch.full((len(x),), torch.inf, device=x.device)
    tried, rows = x, torch.arange(len(x), device=x.device)
    for query in range(queries + 1):
        if query > 0:
            tried = move.next(x, x0, _side(query - 1, x.shape[1:]))
            rows = move.changed(tried, x)
            if len(rows) == 0:
                continue
        whole = len(rows) == len(x)
        part = tried if whole else tried[rows]
        margins = margin(search.forward(part), y if whole else y[rows])
        first = margins if first is None else first
        better = margins < (least if whole else least[rows])
        if whole:
            x, least = torch.where(better[:, None, None, None], part, x), torch.minimum(margins, least)
        else:
            x = x.index_copy(0, rows, torch.where(better[:, None, None, None], part, x[rows]))
            least = least.index_copy(0, rows, torch.minimum(margins, least[rows]))
        lost = search.hopeless(least, first - least) if 0 < query < queries and query % CHECKED == 0 else None
        # strictly: with a margin of 0 two logits are equal, and which of them is predicted is not certain
        keep = search.remaining(owner, x, least < 0, lost)
        if keep is not None:
            if not keep.any():
                return
            owner, x0, y, x, first, least = (t[keep] for t in (owner, x0, y, x, first, least))


def _side(query: int, shape: torch.Size) -> int:
    """Side of the square at that query, in pixels."""
    share = FIRST_SHARE / 2 ** sum(query > after for after in HALVINGS)
    return round(math.sqrt(share * shape[1] * shape[2]))


class _Linf:
    """Moves in Linf: every pixel is at ±ε, in vertical stripes at first, then in squares of one sign per channel.

    The perturbations that attacks find in Linf are mostly of that kind.
    """

    def __init__(self, search: Search, rng: np.random.Generator) -> None:
        self.search, self.rng = search, rng

    def first(self, x0: Tensor) -> Tensor:
        """Return the first candidates."""
        stripes = self._signs(x0, (1, x0.shape[1], 1, x0.shape[3]))
        return (x0 + self.search.eps * stripes).clamp(0, 1)

    def next(self, x: Tensor, x0: Tensor, side: int) -> Tensor:
        """Return candidates that differ from `x` in one square."""
        side = min(max(side, 1), *x.shape[2:])
        window = _window(self.rng, x, side)
        tried = x.clone()
        # the package adds ±2 ε to the best image and clips to the ball, which gives the same ±ε
        tried[window] = (x0[window] + self.search.eps * self._signs(x0, (1, x0.shape[1], 1, 1))).clamp(0, 1)
        self.last = window
        return tried

    def changed(self, tried: Tensor, x: Tensor) -> Tensor:
        """Return the rows that `next` has changed."""
        return (tried[self.last] != x[self.last]).flatten(1).any(1).nonzero()[:, 0]

    def _signs(self, like: Tensor, shape: tuple[int, ...]) -> Tensor:
        return torch.from_numpy(np.sign(self.rng.random(shape) - 0.5)).to(like)


class _L2:
    """Moves in L2: all of the budget ε² is always spent.

    A window gets the budget of another one, and what clipping has left over, in the shape η: a bump and a dent beside
    each other (Algorithm 3 of the paper).
    """

    def __init__(self, search: Search, rng: np.random.Generator) -> None:
        self.search, self.rng = search, rng
        self.bumps: dict[tuple[int, bool], Tensor] = {}

    def first(self, x0: Tensor) -> Tensor:
        """Return the first candidates: a grid of bumps."""
        h, w = x0.shape[2:]
        side = max(min(h, w) // 5, 1)
        delta = torch.zeros_like(x0[:1])
        for top in range(h % side // 2, h - side + 1, side):
            for left in range(w % side // 2, w - side + 1, side):
                delta[:, :, top : top + side, left : left + side] = self._bump(side, x0)
        return (x0 + self.search.eps * delta / self.search.geometry.size(delta)).clamp(0, 1)

    def next(self, x: Tensor, x0: Tensor, side: int) -> Tensor:
        """Return candidates in which the budget of one window, `there`, has moved to another, `here`."""
        side = max(side, 3)
        side = min(side + 1 - side % 2, *x.shape[2:])  # odd, so that η has a centre
        here, there = _window(self.rng, x, side), _window(self.rng, x, side)
        delta = x - x0
        old = delta[here]
        energy = delta.square()
        spent, in_here = energy.sum(dim=(1, 2, 3), keepdim=True), energy[here].sum(dim=(2, 3), keepdim=True)
        energy[here] = 0  # the windows may overlap, and what is in both counts once
        mass = in_here + energy[there].sum(dim=(2, 3), keepdim=True)
        # windows are filled channel by channel, so each channel gets its part of what clipping has left over
        free = (self.search.eps**2 - spent).clamp_(min=0) / x.shape[1]
        shape = old / (in_here.sqrt() + TINY) + self._bump(side, x)
        shape = shape / (torch.linalg.vector_norm(shape, dim=(2, 3), keepdim=True) + TINY)
        delta[there] = 0
        delta[here] = shape * (free + mass).sqrt()
        return x0.add(delta * (self.search.eps / (self.search.geometry.size(delta) + TINY))).clamp_(0, 1)

    def changed(self, tried: Tensor, x: Tensor) -> Tensor:
        """Return all rows."""
        return torch.arange(len(x), device=x.device)

    def _bump(self, side: int, like: Tensor) -> Tensor:
        """η of that side and norm 1, with a random sign per channel, lying or standing at random: `(1, c, s, s)`."""
        standing = bool(self.rng.random() < 0.5)
        if (side, standing) not in self.bumps:
            self.bumps[side, standing] = torch.from_numpy(_eta(side, standing)).to(like)
        signs = np.sign(self.rng.random((1, like.shape[1], 1, 1)) - 0.5)
        return self.bumps[side, standing] * torch.from_numpy(signs).to(like)


_MOVES: dict[str, Callable[[Search, np.random.Generator], _L2 | _Linf]] = {"L2": _L2, "Linf": _Linf}


def _eta(side: int, standing: bool) -> np.ndarray:
    """A pyramid of ever smaller steps (1, 1/4, 1/9, …) in one half, a negative one in the other; norm 1."""
    halves = []
    for height, sign in ((side // 2, 1.0), (side - side // 2, -1.0)):
        rows, columns = np.arange(height)[:, None], np.arange(side)[None]
        ring = np.maximum(np.abs(rows - height // 2), np.abs(columns - side // 2))
        steps = np.array([(1 / np.arange(r + 1, max(height, side) // 2 + 2) ** 2).sum() for r in range(side + 1)])
        half = steps[ring]
        halves.append(sign * half / max(float(np.linalg.norm(half)), TINY))
    # both halves have norm 1, so that the bump and the dent get the same budget
    eta = np.concatenate(halves)
    eta /= np.linalg.norm(eta)
    return eta.T.copy() if standing else eta


def _window(rng: np.random.Generator, x: Tensor, side: int) -> tuple[slice, ...]:
    """A random square of that side inside the image."""
    # the last place, too, which the package never draws
    top, left = (int(rng.integers(size - side + 1)) for size in x.shape[2:])
    return slice(None), slice(None), slice(top, top + side), slice(left, left + side)
