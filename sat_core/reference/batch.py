"""A batch of the oracle's training step."""

from __future__ import annotations

from typing import final

import attrs
import numpy as np


@final
@attrs.frozen(kw_only=True, eq=False)
class Batch:
    """The images of a step, or of a part of it.

    Attributes:
        images: `(n, h, w, c)`, or features `(n, d)`.
        targets: `(n, k)`.
        weights: w / Σ w of the whole batch, `(n,)`.
        members: How many are attacked: the first ones.
        keys: Of the random starts; None without.
        beta: β of the loss.
        strength: Factor of ε.
    """

    images: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    members: int
    keys: np.ndarray | None
    beta: float
    strength: float

    def ordered(self, order: np.ndarray) -> Batch:
        """Return the batch with its images in that order; weights stay."""
        keys = None if self.keys is None else self.keys[order]
        return attrs.evolve(self, images=self.images[order], targets=self.targets[order], keys=keys)

    def part(self, k: int, parts: int) -> Batch:
        """Return every `parts`-th image from number `k` on, of which the members come first, too."""
        mine = np.s_[k::parts]
        return attrs.evolve(
            self,
            images=self.images[mine],
            targets=self.targets[mine],
            weights=self.weights[mine],
            members=-((k - self.members) // parts),
            keys=None if self.keys is None else self.keys[mine],
        )
