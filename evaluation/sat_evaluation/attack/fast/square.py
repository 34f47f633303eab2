"""Square: random search with squares of shrinking size, which looks at logits only (Andriushchenko et al. 2020).

Without gradients it cannot be fooled by a network that masks them. A candidate changes one square of the image and is
kept if the margin falls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from sat_evaluation.attack.fast.search import LOOK, TINY, Search, margin

FIRST_SHARE = 0.8
"""Share of the image that the first squares cover, as in AutoAttack."""
# AutoAttack's, made for 10,000 queries. It has 5000 and does not rescale them, so that the last two are not reached
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries after which that share is halved."""
CHECKED = 1000
"""Queries between two checks of the progress."""


Window = tuple[slice, ...]
"""A square of pixels, in all images and channels."""


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
    least = torch.full((len(x),), torch.inf, device=x.device)
    first, tried, rows = least, x, None
    squares: Iterator[Any] = iter(())
    for query in range(queries + 1):
        if query > 0:
            if (query - 1) % LOOK == 0:
                # several at a time, right after a look: each time that numbers are sent to a GPU the host waits
                sides = [_side(number, x.shape[1:]) for number in range(query - 1, query - 1 + LOOK)]
                squares = iter(move.draw(sides, x))
            tried = move.next(x, x0, next(squares))
            # a GPU would have to be waited for to know how many these are, so there all rows are asked
            rows = move.changed(tried, x) if search.interval == 1 else None
            if rows is not None and len(rows) == 0:
                continue
        if rows is None or len(rows) == len(x):
            margins = margin(search.forward(tried), y)
            x = torch.where((margins < least)[:, None, None, None], tried, x)
            least = torch.minimum(margins, least)
            first = margins if query == 0 else first
        else:
            part, before = tried[rows], least[rows]
            margins = margin(search.forward(part), y[rows])
            x = x.index_copy(0, rows, torch.where((margins < before)[:, None, None, None], part, x[rows]))
            least = least.index_copy(0, rows, torch.minimum(margins, before))
        lost = search.hopeless(least, first - least) if 0 < query < queries and query % CHECKED == 0 else None
        if not (lost is not None or query == queries or search.due(query)):
            continue
        # strictly: with a margin of 0 two logits are equal, and which of them is predicted is not certain. The margin
        # never rises, so that what was broken between two looks still is
        keep = search.remaining(owner, x, least < 0, lost)
        if keep is not None:
            if len(keep) == 0:
                return
            owner, x0, y, x, first, least = (t[keep] for t in (owner, x0, y, x, first, least))


def _side(query: int, shape: torch.Size) -> int:
    """Side of the square at that query, in pixels."""
    share = FIRST_SHARE / 2 ** sum(query > after for after in HALVINGS)
    return round(math.sqrt(share * shape[1] * shape[2]))


@final
class _Linf:
    """Moves in Linf: every pixel is at ±ε, in vertical stripes at first, then in squares of one sign per channel.

    The perturbations that attacks find in Linf are mostly of that kind.
    """

    def __init__(self, search: Search, rng: np.random.Generator) -> None:
        self.search, self.rng = search, rng

    def first(self, x0: Tensor) -> Tensor:
        """Return the first candidates."""
        stripes = torch.from_numpy(self._signs((1, x0.shape[1], 1, x0.shape[3]))).to(x0)
        return (x0 + self.search.eps * stripes).clamp(0, 1)

    def draw(self, sides: list[int], x: Tensor) -> Iterator[tuple[Window, Tensor]]:
        """Draw a window and its signs for each of `sides`, and send them to the device of `x`."""
        channels, *size = x.shape[1:]
        drawn = [
            (_window(self.rng, size, min(max(side, 1), *size)), self._signs((1, channels, 1, 1))) for side in sides
        ]
        signs = torch.from_numpy(np.stack([signs for _, signs in drawn])).to(x)
        return zip([window for window, _ in drawn], signs, strict=True)

    def next(self, x: Tensor, x0: Tensor, square: tuple[Window, Tensor]) -> Tensor:
        """Return candidates that differ from `x` in one square."""
        self.last, signs = square
        tried = x.clone()
        # the package adds ±2 ε to the best image and clips to the ball, which gives the same ±ε
        tried[self.last] = (x0[self.last] + self.search.eps * signs).clamp(0, 1)
        return tried

    def changed(self, tried: Tensor, x: Tensor) -> Tensor:
        """Return the rows that `next` has changed."""
        return (tried[self.last] != x[self.last]).flatten(1).any(1).nonzero()[:, 0]

    def _signs(self, shape: tuple[int, ...]) -> np.ndarray:
        return np.sign(self.rng.random(shape) - 0.5)


@final
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
                eta, signs = self._bump(side, x0.shape[1], x0)
                delta[:, :, top : top + side, left : left + side] = eta * torch.from_numpy(signs).to(x0)
        return (x0 + self.search.eps * delta / self.search.geometry.size(delta)).clamp(0, 1)

    def draw(self, sides: list[int], x: Tensor) -> Iterator[tuple[Window, Window, Tensor]]:
        """Draw two windows and a bump for each of `sides`, and send them to the device of `x`."""
        channels, *size = x.shape[1:]
        odd = [max(side, 3) + 1 - max(side, 3) % 2 for side in sides]  # so that η has a centre
        drawn = [
            (_window(self.rng, size, side), _window(self.rng, size, side), *self._bump(side, channels, x))
            for side in (min(side, *size) for side in odd)
        ]
        signs = torch.from_numpy(np.stack([signs for *_, signs in drawn])).to(x)
        return ((here, there, eta * sign) for (here, there, eta, _), sign in zip(drawn, signs, strict=True))

    def next(self, x: Tensor, x0: Tensor, square: tuple[Window, Window, Tensor]) -> Tensor:
        """Return candidates in which the budget of one window, `there`, has moved to another, `here`."""
        here, there, bump = square
        delta = x - x0
        old = delta[here]
        energy = delta.square()
        spent, in_here = energy.sum(dim=(1, 2, 3), keepdim=True), energy[here].sum(dim=(2, 3), keepdim=True)
        energy[here] = 0  # the windows may overlap, and what is in both counts once
        mass = in_here + energy[there].sum(dim=(2, 3), keepdim=True)
        # windows are filled channel by channel, so each channel gets its part of what clipping has left over
        free = (self.search.eps**2 - spent).clamp_(min=0) / x.shape[1]
        shape = old / (in_here.sqrt() + TINY) + bump
        shape = shape / (torch.linalg.vector_norm(shape, dim=(2, 3), keepdim=True) + TINY)
        delta[there] = 0
        delta[here] = shape * (free + mass).sqrt()
        return x0.add(delta * (self.search.eps / (self.search.geometry.size(delta) + TINY))).clamp_(0, 1)

    def changed(self, tried: Tensor, x: Tensor) -> None:
        """Return None, for all rows."""

    def _bump(self, side: int, channels: int, like: Tensor) -> tuple[Tensor, np.ndarray]:
        """η of that side and norm 1, lying or standing at random, `(s, s)`, and a sign per channel, `(1, c, 1, 1)`."""
        standing = bool(self.rng.random() < 0.5)
        if (side, standing) not in self.bumps:
            self.bumps[side, standing] = torch.from_numpy(_eta(side, standing)).to(like)
        return self.bumps[side, standing], np.sign(self.rng.random((1, channels, 1, 1)) - 0.5)


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


def _window(rng: np.random.Generator, size: Sequence[int], side: int) -> Window:
    """A random square of that side inside images of that size, `(h, w)`."""
    # the last place, too, which the package never draws
    top, left = (int(rng.integers(length - side + 1)) for length in size)
    return slice(None), slice(None), slice(top, top + side), slice(left, left + side)
