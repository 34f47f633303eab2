"""The SAT step for training loops of one's own: what is the same in every framework."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from sat_core.arrays import check_batch, check_index, check_range
from sat_core.attack_spec import AttackSpec
from sat_core.errors import SpecError
from sat_core.geometry import Tensor
from sat_core.splits import Split
from sat_core.threat import THREAT_MODELS


class AdversarialStep(ABC):
    """Makes adversarial examples for members of A in a batch, and weighs the loss.

    Args:
        model: the framework's own network from images in [0, 1] to logits, normalising inside.
        split: which examples are in A, and their weights.
        attack: how they are attacked.
        rng: draws the random start, if the attack has one.

    Raises:
        SpecError: for an attack with a random start and no `rng`, or a split without fixed members.
    """

    layout = "n, h, w, c"
    """Axes of the framework's images, for messages."""

    def __init__(self, model: Any, split: Split, attack: AttackSpec, rng: np.random.Generator | None = None) -> None:
        if attack.random_start and rng is None:
            raise SpecError("the attack has a random start; pass rng=numpy.random.default_rng(seed)")
        if split.online:
            raise SpecError(
                f"split: expected fixed members, got {split.strategy!r}, with which each batch chooses its own\n"
                "such trainings are run by sat_core.train, or as a study"
            )
        self.model, self.split, self.attack, self.rng = model, split, attack, rng

    @abstractmethod
    def __call__(self, images: Tensor, labels: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mixed batch and its loss."""

    @abstractmethod
    def mix(self, images: Tensor, labels: Tensor, index: Tensor) -> Tensor:
        """Return `images` with adversarial examples in place of the members of A."""

    def loss(self, logits: Tensor, labels: Tensor, index: Tensor) -> Tensor:
        """Return Σ w·ℓ / Σ w over the batch, with the weights of the split."""
        # By Σ w, not by n: weights shift the loss between A and B and do not lengthen the step (recipe, section 3).
        total, weight = self.losses(logits, labels, index)
        return total / weight

    @abstractmethod
    def losses(self, logits: Tensor, labels: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return Σ w·ℓ and Σ w over the batch apart."""

    def _random_start(self, shape: tuple[int, ...]) -> np.ndarray:
        """Draw δ of one restart, float32 `(n, h, w, c)`."""
        threat, radius = THREAT_MODELS.get(self.attack.norm), self.attack.start_radius
        return threat.random_start(self.rng, shape, radius)  # type: ignore[arg-type]

    def _check_shapes(self, images: Tensor, labels: Tensor, index: Tensor) -> None:
        """Check types and shapes, which costs nothing and is done for every batch."""
        check_batch(labels, index, images, self.layout)
        self.attack.check_images(tuple(images.shape[1:]))

    def _check_values(self, low: float, high: float, first: int, last: int) -> None:
        """Check the range of pixels and of example numbers; for the first batch only, as reading them stalls a GPU."""
        check_range(low, high)
        check_index(first, last, len(self.split.members))
