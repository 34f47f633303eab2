"""Online selection: a share of the images of each batch is attacked, and the batch chooses which.

It needs no ranking and no fixed A. Each batch of n images has ⌊(s + 1)·q·n⌋ - ⌊s·q·n⌋ members, with q = |A|/N and s the
number of the batch, so that an epoch attacks as many images as one with a fixed A of that size.
"""

from __future__ import annotations

import numpy as np

from sat_core.splits import Split
from sat_core.streams import stream


def ends(members: int, examples: int, steps: int, size: int) -> np.ndarray:
    """Return ⌊s·q·n⌋ for s = 0 … S, int64 `(S + 1,)`, in whole numbers.

    Args:
        members, examples: |A| and N; q = |A|/N.
        steps, size: S batches of n images.

    >>> ends(1, 3, steps=3, size=4).tolist()
    [0, 1, 2, 4]
    """
    return np.arange(steps + 1) * size * members // examples


def drawn_members(split: Split, epoch: int, steps: int, size: int) -> np.ndarray:
    """Return which positions of the batches of an epoch are those of members, bool `(S, n)`.

    Random members are drawn here. Others are chosen in the step, which puts them first.
    """
    places = np.tile(np.arange(size), (steps, 1))
    if split.online == "random":
        places = stream(split.seed, "online", epoch).permuted(places, axis=1)
    return places < np.diff(ends(split.drawn, len(split.members), steps, size))[:, None]
