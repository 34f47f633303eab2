"""Mixup and CutMix of a batch; `sat_core.mixing` draws how, and `sat_core.reference.mixing` is the oracle."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sat_torch.losses import onehot


def mix(images: Tensor, labels: Tensor, classes: int, rows: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Mix images `(n, c, h, w)` as ``partner``, ``share`` and ``box`` of a step say, and make targets `(n, k)`."""
    partner, share = rows["partner"], rows["share"].to(images)
    targets = onehot(labels, classes, images)
    others = images[partner]
    if "box" in rows:
        top, bottom, left, right = rows["box"]
        y, x = (torch.arange(size, device=images.device) for size in images.shape[2:])
        inside = ((y >= top) & (y < bottom))[:, None] & (x >= left) & (x < right)
        mixed = torch.where(inside, others, images)
    else:
        mixed = share * images + (1 - share) * others
    return mixed, share * targets + (1 - share) * targets[partner]
