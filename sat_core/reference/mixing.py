"""Mixup and CutMix of a batch, in numpy."""

from __future__ import annotations

import numpy as np

from sat_core.mixing import Mixes


def mix(images: np.ndarray, targets: np.ndarray, mixes: Mixes | None, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Mix images `(n, h, w, c)` and targets `(n, k)` as `mixes` say of that step."""
    if mixes is None:
        return images, targets
    others, share = images[mixes.partner[step]], mixes.share[step]
    if mixes.box is None:
        mixed = (share * images + (1 - share) * others).astype(images.dtype)
    else:
        mixed, (top, bottom, left, right) = images.copy(), mixes.box[step]
        mixed[:, top:bottom, left:right] = others[:, top:bottom, left:right]
    return mixed, share * targets + (1 - share) * targets[mixes.partner[step]]
