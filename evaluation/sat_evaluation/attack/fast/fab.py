"""Targeted FAB: the nearest point of another class, from one linearised boundary to the next (Croce & Hein 2020b).

Other attacks stay inside the ball and raise a loss. FAB looks for the smallest perturbation that changes the class and
only then compares it with ε. Each step linearises the logits, projects point and image onto that hyperplane within
[0, 1], and goes to a mixture of both, a little beyond the boundary.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from sat_evaluation.attack.fast.search import TINY, Search

OVERSHOOT, TOWARDS_IMAGE, BACK = 1.05, 0.1, 0.9
"""η, α_max and β of the paper: the factor by which a step goes beyond the boundary, the largest share of the image's
own projection in the mixture, and the factor by which a perturbation that crossed the boundary is shortened."""
_NEWTON = 8
"""Newton steps per projection; each is a pass over the images."""
CHECKED = 10
"""Iterations between two checks of the progress."""
_DIRECTIONS = {"L2": lambda w: w, "Linf": torch.sign}
"""From a point towards a hyperplane with the normal w, by norm: along w the Euclidean distance is shortest, along its
signs the largest change of a pixel is smallest."""


def fab(search: Search, owner: Tensor, target: Tensor, start: Tensor | None, iterations: int) -> None:
    """Attack examples, each towards a class.

    Every iteration takes one gradient, at the point itself. Where that is misclassified but too far from the image, the
    same hyperplane also serves the point that is pulled back, for which the paper takes another gradient.

    Args:
        search: the batch; records what is broken.
        owner: the example of each row, int64 `(r,)`.
        target: the class of each row, int64 `(r,)`.
        start: δ of each row, `(r, c, h, w)`; the image itself if None.
        iterations: steps; there is one gradient more than that.
    """
    image, y = search.x[owner], search.y[owner]
    x0 = image.flatten(1)
    x = x0 if start is None else (image + start).clamp(0, 1).flatten(1)
    # ∞ until the row has crossed. Then `pace` is NaN or ∞, no comparison with it is true, and the row goes on
    nearest = before = torch.full_like(y, torch.inf, dtype=x.dtype)
    hit = torch.zeros_like(y, dtype=torch.bool)
    for i in range(iterations + 1):
        logits, gap, gradient = search.gradient(x.reshape(-1, *search.x.shape[1:]), partial(_gap, y=y, target=target))
        w, crossed = gradient.flatten(1), logits.argmax(1) != y
        far = search.geometry.size(x - x0)[:, 0]
        nearest = torch.where(crossed, torch.minimum(far, nearest), nearest)
        lost = None
        if 0 < i < iterations and i % CHECKED == 0:
            # both have to hold: on flat outputs a row may come nearer slowly for long, and still arrive
            pace, left = (before - nearest) / CHECKED, nearest - search.eps
            lost = search.hopeless(left, torch.full_like(far, search.eps)) & (left > pace * (iterations - i))
            before = nearest
        hit = hit | (crossed & (far <= search.eps))
        look = lost is not None or i == iterations or search.due(i)
        keep = search.remaining(owner, x.reshape(gradient.shape), hit, lost) if look else None
        if i == iterations:
            return
        if keep is not None:
            if len(keep) == 0:
                return
            owner, x0, y, target, x, gap, w, crossed, nearest, before, hit = (
                t[keep] for t in (owner, x0, y, target, x, gap, w, crossed, nearest, before, hit)
            )
        # the point, pulled back if it has crossed the boundary, and the image: both are projected at once
        points = torch.stack([torch.where(crossed[:, None], x0 + BACK * (x - x0), x), x0])
        # both are projected onto the plane of x: each lacks what the gap, linear from x on, is short of 0 there
        missing = -gap - ((points - x) * w).sum(dim=-1)
        steps = to_hyperplane(search.geometry.name, points, w, missing)
        sizes = search.geometry.size(steps.flatten(0, 1)).reshape(*steps.shape[:2], 1)
        alpha = (sizes[0] / (sizes[0] + sizes[1] + TINY)).clamp(max=TOWARDS_IMAGE)
        here, there = points + OVERSHOOT * steps
        x = search.hold(hit, x, torch.lerp(here, there, alpha).clamp_(0, 1))


def to_hyperplane(norm: str, points: Tensor, w: Tensor, missing: Tensor) -> Tensor:
    """Compute the smallest step to a hyperplane inside the box [0, 1].

    d = clip(points + λ·v, 0, 1) - points, where v is w (L2) or its sign (Linf). <w, d> is concave in λ ≥ 0 and made of
    straight pieces, one for each set of pixels that have not reached 0 or 1, so that Newton's method from 0 approaches
    the solution from below. The package sorts all pixels instead.

    Args:
        norm: L2 or Linf, in which the step is smallest.
        points: in [0, 1], `(…, r, d)`.
        w: normal of the hyperplane, `(r, d)`.
        missing: <w, d> that is wanted, `(…, r)`.

    Returns:
        d, `(…, r, d)`. Where the box has no point on the hyperplane, points + d is the corner nearest to it.
    """
    w = torch.where(missing < 0, -1.0, 1.0)[..., None] * w  # so that what is missing is positive
    missing = missing.abs()
    v = _DIRECTIONS[norm](w)
    slopes = v * w
    low, high = -points, 1 - points
    length = torch.zeros_like(missing)
    for _ in range(_NEWTON):
        unclipped = length[..., None] * v
        d = torch.clamp(unclipped, low, high)
        slope = (slopes * (d == unclipped)).sum(dim=-1)  # of pixels that still move
        # where all pixels are at 0 or 1 the slope is 0, and the quotient may overflow: ∞ times a weight of 0 is NaN
        length = length + ((missing - (w * d).sum(dim=-1)) / (slope + TINY)).clamp_(0, 1e9)
    return torch.clamp(length[..., None] * v, low, high)


def _gap(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """Target's logit minus the label's: positive beyond the boundary."""
    return (logits.gather(1, target[:, None]) - logits.gather(1, y[:, None]))[:, 0]
