"""Targeted FAB: the nearest point of another class, from one linearised boundary to the next (Croce & Hein 2020b)."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from sat_evaluation.attack.fast.search import TINY, Search

OVERSHOOT, TOWARDS_IMAGE, BACK = 1.05, 0.1, 0.9
"""η, the largest α, and β of the paper: how far beyond the boundary a step goes, the most that the projection of the
image itself counts, and what is left of a perturbation after it crossed the boundary."""
_NEWTON = 8
CHECKED = 10
"""Iterations from one look at the progress to the next."""
_DIRECTIONS = {"L2": lambda w: w, "Linf": torch.sign}
"""From a point towards a hyperplane with the normal w, by norm: along w the Euclidean distance is shortest, along its
signs the largest change of a pixel is smallest."""


def fab(search: Search, owner: Tensor, target: Tensor, start: Tensor | None, iterations: int) -> None:
    """Attack the examples `owner` `(r,)` towards the classes `target` `(r,)`, from δ = `start` if there is one.

    Every iteration takes one gradient, at the point itself. Where that is misclassified, but too far from the image,
    the boundary linearised there also serves the point that is pulled back, which the paper linearises anew. A row that
    comes nearer too slowly to reach the ball is dropped, if it is hopeless: on flat outputs it may be slow for long.
    """
    image, y = search.x[owner], search.y[owner]
    x0 = image.flatten(1)
    x = x0 if start is None else (image + start).clamp(0, 1).flatten(1)
    nearest = before = torch.full_like(y, torch.inf, dtype=x.dtype)
    for i in range(iterations + 1):
        logits, gap, gradient = search.gradient(x.reshape(-1, *search.x.shape[1:]), partial(_gap, y=y, target=target))
        w, crossed = gradient.flatten(1), logits.argmax(1) != y
        far = search.geometry.size(x - x0)[:, 0]
        nearest = torch.where(crossed, torch.minimum(far, nearest), nearest)
        lost = None
        if 0 < i < iterations and i % CHECKED == 0:
            pace, left = (before - nearest) / CHECKED, nearest - search.eps
            lost = search.hopeless(left, far.new_tensor(search.eps)) & (left > pace * (iterations - i))
            before = nearest
        keep = search.remaining(owner, x.reshape(gradient.shape), crossed & (far <= search.eps), lost)
        if keep is not None:
            if not keep.any():
                return
            owner, x0, y, target, x, gap, w, crossed, nearest, before = (
                t[keep] for t in (owner, x0, y, target, x, gap, w, crossed, nearest, before)
            )
        points = torch.stack([torch.where(crossed[:, None], x0 + BACK * (x - x0), x), x0])
        missing = -gap - ((points - x) * w).sum(dim=-1)
        steps = to_hyperplane(search.geometry.name, points, w, missing)
        sizes = search.geometry.size(steps.flatten(0, 1)).reshape(*steps.shape[:2], 1)
        alpha = (sizes[0] / (sizes[0] + sizes[1] + TINY)).clamp(max=TOWARDS_IMAGE)
        here, there = points + OVERSHOOT * steps
        x = torch.lerp(here, there, alpha).clamp_(0, 1)


def to_hyperplane(norm: str, points: Tensor, w: Tensor, missing: Tensor) -> Tensor:
    """The smallest step d from each of `points` `(…, r, d)`, in [0, 1], so that <w, d> = `missing` `(…, r)`, for w of
    shape `(r, d)`, and points + d is in [0, 1].

    d = clip(points + λ·v) − points, where v is w (L2) or its sign (Linf): <w, d> is concave in λ ≥ 0 and made of
    straight pieces, so Newton's steps from 0 approach the solution from below. Where the box has no such point, d ends
    at its corner.
    """
    w = torch.where(missing < 0, -1.0, 1.0)[..., None] * w
    missing = missing.abs()
    v = _DIRECTIONS[norm](w)
    slopes = v * w
    low, high = -points, 1 - points
    length = torch.zeros_like(missing)
    for _ in range(_NEWTON):
        wanted = length[..., None] * v
        d = torch.clamp(wanted, low, high)
        slope = (slopes * (d == wanted)).sum(dim=-1)
        length = length + ((missing - (w * d).sum(dim=-1)) / (slope + TINY)).clamp_(0, 1e9)
    return torch.clamp(length[..., None] * v, low, high)


def _gap(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """Target's logit minus the label's: positive beyond the boundary."""
    return (logits.gather(1, target[:, None]) - logits.gather(1, y[:, None]))[:, 0]
