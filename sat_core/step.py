"""The SAT step for training loops of one's own: what is the same in every framework."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from sat_core.arrays import check_batch, check_index, check_range
from sat_core.ascent import TensorOps
from sat_core.attack_spec import AttackSpec
from sat_core.combinations import check_combinations, check_functions
from sat_core.errors import DataError, SpecError, quoted
from sat_core.geometry import Tensor
from sat_core.loss_spec import PLAIN, LossSpec
from sat_core.member_losses import LOSSES, cross_entropy
from sat_core.splits import Split
from sat_core.threat import THREAT_MODELS
from sat_core.training_spec import TrainingSpec

TOGETHER = "\ncall the step itself, which sends both through the network in one forward"


class AdversarialStep(ABC):
    """Makes adversarial examples for members of A in a batch, and weighs the loss.

    Args:
        model: the framework's own network from images in [0, 1] to logits, normalising inside.
        split: which examples are in A, and their weights.
        attack: how they are attacked.
        rng: draws the random start, if the attack has one.
        loss: what is minimised. One with `pairs`, as TRADES, is computed by calling the step itself, which sends clean
            images of the members through the network, too. TRADES's own attack is ``AttackSpec(loss="kl")``.

    Raises:
        SpecError: for an attack with a random start and no `rng`, a split without fixed members, or settings that need
            the epochs of a training, mean nothing together, or have no function in the backend.
    """

    layout = "n, h, w, c"
    """Axes of the framework's images, for messages."""
    backend: str
    """Name of the backend, whose functions of plug-ins are called."""

    def __init__(
        self,
        model: Any,
        split: Split,
        attack: AttackSpec,
        rng: np.random.Generator | None = None,
        loss: LossSpec = PLAIN,
    ) -> None:
        _check_settings(attack, loss, self.backend)
        if attack.random_start and rng is None:
            raise SpecError("the attack has a random start; pass rng=numpy.random.default_rng(seed)")
        if split.moving:
            moving = f"{split.strategy!r}, with which each batch chooses its own"
            if split.rerank:
                moving = f"subset.rerank = {split.rerank}, with which A is chosen anew during the training"
            raise SpecError(
                f"split: expected fixed members, got {moving}\nsuch trainings are run by sat_core.train, or as a study"
            )
        self.model, self.split, self.attack, self.rng, self.loss_spec = model, split, attack, rng, loss
        self._kind = LOSSES.get(loss.kind)

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
        """Return Σ w·ℓ and Σ w over the batch apart.

        For a loss with `pairs`, logits of the members' clean images follow those of the mixed batch.
        """

    def _random_start(self, shape: tuple[int, ...]) -> np.ndarray:
        """Draw δ of one restart, float32 `(n, h, w, c)`."""
        threat, radius = THREAT_MODELS.get(self.attack.norm), self.attack.start_radius
        return threat.random_start(self.rng, shape, radius)  # type: ignore[arg-type]

    def _losses(self, ops: TensorOps, logits: Tensor, targets: Tensor, n: Any, rows: Tensor) -> Tensor:
        """Return ℓ of each example, `(n,)`.

        Args:
            ops: of the framework.
            logits: of the mixed batch, `(n, k)`; for a loss with `pairs`, those of the members' clean images follow.
            targets: one-hot labels, `(n, k)`.
            n: size of the batch, a number or a scalar tensor.
            rows: places of the members in the batch, int64 `(m,)`.
        """
        smooth = self.loss_spec.label_smoothing
        targets = (1 - smooth) * targets + smooth / targets.shape[1]
        mixed = logits[:n] if self._kind.pairs else logits
        losses = cross_entropy(ops, mixed, targets)
        if self._kind.name == "ce":
            return losses
        clean = logits[n:] if self._kind.pairs else None
        adversarial, of_members = ops.take(mixed, rows), ops.take(targets, rows)
        return ops.put(losses, rows, self._kind.checked(ops, adversarial, clean, of_members, self.loss_spec.betas[0]))

    def _check_logits(self, rows: int, n: int, members: int) -> None:
        """Check that there are logits of the mixed batch, and of clean images of the members if the loss needs them."""
        if rows != (expected := n + members * self._kind.pairs):
            more = f", {n} of the mixed batch and {members} of clean images of its members" if self._kind.pairs else ""
            raise DataError(f"logits: expected {expected} rows{more}, got {rows}{TOGETHER if self._kind.pairs else ''}")

    def _check_shapes(self, images: Tensor, labels: Tensor, index: Tensor) -> None:
        """Check types and shapes, which costs nothing and is done for every batch."""
        check_batch(labels, index, images, self.layout)
        self.attack.check_images(tuple(images.shape[1:]))

    def _check_values(self, low: float, high: float, first: int, last: int) -> None:
        """Check the range of pixels and of example numbers; for the first batch only, as reading them stalls a GPU."""
        check_range(low, high)
        check_index(first, last, len(self.split.members))


def _check_settings(attack: AttackSpec, loss: LossSpec, backend: str) -> None:
    """Raise SpecError for settings that only a training can follow, or nothing can."""
    for name, value, of in (("attack", attack, AttackSpec), ("loss", loss, LossSpec)):
        if not isinstance(value, of):
            example = f"{of.__name__}(kind={value if isinstance(value, str) else of().kind!r})"
            raise SpecError(f"{name}: expected {example}, got {quoted(value)}")
    in_training = "which only a training of a study follows"
    if attack.free:
        raise SpecError(f"attack.kind: expected an attack of its own, got 'free', {in_training}")
    if attack.warmup:
        raise SpecError(f"attack.warmup: expected 0, got {attack.warmup}, {in_training}")
    if loss.betas[0] != loss.betas[1]:
        raise SpecError(f"loss.beta: expected one number, got {list(loss.betas)}, {in_training}")
    if loss.class_weights != "none":
        raise SpecError(
            f'loss.class_weights: expected "none", got {loss.class_weights!r}, {in_training}; weigh the losses yourself'
        )
    check_combinations(loss, attack, TrainingSpec(epochs=1))
    check_functions(loss, attack, backend, None)
