"""APGD: projected gradient ascent that sets its own step size (Croce & Hein 2020, section 3, Algorithm 1)."""

from __future__ import annotations

from functools import partial
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn import functional

from sat_evaluation.attack.fast.search import TINY, Search, margin

# α and ρ of the paper, with its values
MOMENTUM = 0.75
RISING = 0.75
"""The share of the steps since the last check in which the loss has to rise, or the step is halved."""


def loss_of(name: str, logits: Tensor, y: Tensor, target: Tensor | None) -> Tensor:
    """Compute the losses `(r,)` to be maximised (Croce & Hein 2020, Eqs. 6 and 7).

    DLR divides a difference of logits by another one, so that scaling all logits, by which a network can make its
    gradients vanish, changes nothing.

    Args:
        name: ``ce`` or ``dlr``.
        logits: `(r, k)`.
        y: labels, int64 `(r,)`.
        target: int64 `(r,)` for the targeted DLR, else None.
    """
    if name == "ce":
        return functional.cross_entropy(logits, y, reduction="none")
    own = logits.gather(1, y[:, None])[:, 0]
    top = logits.topk(3 if target is None else 4, dim=1).values
    if target is None:
        other = torch.where(own == top[:, 0], top[:, 1], top[:, 0])
        return (other - own) / (top[:, 0] - top[:, 2] + TINY)
    other = logits.gather(1, target[:, None])[:, 0]
    return (other - own) / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + TINY)


def windows(iterations: int) -> list[int]:
    """Return the numbers of steps between checks: 22 % of all, then each 3 % fewer, down to 6 % (section 3)."""
    length, least, fewer = (max(int(share * iterations), 1) for share in (0.22, 0.06, 0.03))
    lengths, done = [], 0
    while done < iterations:
        lengths.append(min(length, iterations - done))
        done += length
        length = max(length - fewer, least)
    return lengths


def apgd(search: Search, name: str, owner: Tensor, target: Tensor | None, start: Tensor, iterations: int) -> None:
    """Attack examples with the loss called `name`.

    Args:
        search: the batch; records what is broken.
        name: see `loss_of`.
        owner: the example of each row, int64 `(r,)`; an example may have several.
        target: class of each row, int64 `(r,)`, for the targeted loss.
        start: δ, `(1, c, h, w)` or one for each row.
        iterations: steps; there is one gradient more than that.
    """
    x0, y = search.x[owner], search.y[owner]
    x = search.project(x0, x0 + start)
    previous, best, best_gradient = x, x, torch.zeros_like(x)
    best_loss = torch.full((len(x), 1, 1, 1), -torch.inf, device=x.device)
    last_loss, checked_loss = best_loss, best_loss
    # η⁰ = 2 ε as in the paper: the first steps cross the whole ball
    step = torch.full_like(best_loss, 2 * search.eps)
    # as if halved before, so that condition 2 cannot hold at the first check, which has no check to compare with
    rises, halved = torch.zeros_like(best_loss), torch.ones_like(best_loss, dtype=torch.bool)
    first, least = None, torch.full((len(x),), torch.inf, device=x.device)
    hit = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    checks = dict(zip(accumulate(windows(iterations)), windows(iterations), strict=True))
    for i in range(iterations + 1):
        logits, losses, gradient = search.gradient(x, partial(loss_of, name, y=y, target=target))
        losses, gap = losses[:, None, None, None], margin(logits, y, target)
        first, least = gap if first is None else first, torch.minimum(least, gap)
        # the last point is only looked at, so that there is nothing left to give up
        lost = search.hopeless(least, first - least) if i in checks and i < iterations else None
        hit = hit | (logits.argmax(1) != y)
        look = lost is not None or i == iterations or search.due(i)
        keep = search.remaining(owner, x, hit, lost) if look else None
        if keep is not None:
            if len(keep) == 0:
                return
            target = None if target is None else target[keep]
            owner, x0, y, x, previous, best, best_gradient = (
                t[keep] for t in (owner, x0, y, x, previous, best, best_gradient)
            )
            losses, gradient, best_loss, last_loss, checked_loss, step, rises, halved, first, least, hit = (
                t[keep]
                for t in (losses, gradient, best_loss, last_loss, checked_loss, step, rises, halved, first, least, hit)
            )
        asked = x
        better = losses > best_loss
        best, best_gradient = torch.where(better, x, best), torch.where(better, gradient, best_gradient)
        best_loss = torch.maximum(losses, best_loss)
        rises, last_loss = rises + (losses > last_loss), losses
        if i == 0:
            # the first loss is above -∞, which is no rise
            rises, checked_loss = torch.zeros_like(rises), best_loss
        elif i in checks:
            # Conditions 1 and 2 of the paper: the loss rose too rarely, or neither step nor best loss has changed since
            # the last check. Then the search goes back to its best point
            halve = (rises <= RISING * checks[i]) | (~halved & (checked_loss >= best_loss))
            step = torch.where(halve, step / 2, step)
            # `previous` stays, as in the package: the next momentum counts from the point before the last step
            x, gradient = torch.where(halve, best, x), torch.where(halve, best_gradient, gradient)
            rises, halved, checked_loss = torch.zeros_like(rises), halve, best_loss
        if i < iterations:
            moved = search.project(x0, x + step * search.geometry.ascent_direction(gradient))
            share = MOMENTUM if i > 0 else 1.0  # there is no previous step at first
            # projected a second time, as the momentum may lead out of the ball again (Algorithm 1)
            moved = search.project(x0, x + share * (moved - x) + (1 - share) * (x - previous))
            x, previous = search.hold(hit, asked, moved), x
