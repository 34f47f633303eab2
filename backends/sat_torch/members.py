"""The members of a batch: which they are, if a step chooses them, and their adversarial examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import numpy as np
import torch
from torch import Tensor

from sat_core.ascent import Starts, attack_first, random_starts
from sat_core.attack_spec import AttackSpec
from sat_core.classifier import State
from sat_core.geometry import get_geometry
from sat_core.precision import FP16_SCALE
from sat_core.state import check_state
from sat_core.trainer import DELTA
from sat_core.training_spec import TrainingSpec
from sat_torch.arrays import to_numpy
from sat_torch.attacked import Attacked
from sat_torch.attacks import perturb
from sat_torch.batch import Batch
from sat_torch.classifier import TorchClassifier
from sat_torch.losses import moments
from sat_torch.modes import Forward
from sat_torch.ops import OPS


@final
class Members:
    """Chooses members of batches and attacks them, on the network of a training in evaluation mode.

    Args:
        classifier: That is trained.
        training: Settings of the training.
        attack: Settings of its attack.
        forward: Images to logits as the training computes them.
        replayed: δ of Free-AT, in place of an attack.
    """

    def __init__(
        self,
        classifier: TorchClassifier,
        training: TrainingSpec,
        attack: AttackSpec,
        forward: Forward,
        replayed: Replayed | None,
    ) -> None:
        self._attack, self._shape, self.replayed = attack, classifier.image_shape, replayed
        self._scale = FP16_SCALE if training.precision == "fp16" else 1.0
        self._attacked = Attacked(classifier, training, forward)

    @torch.no_grad()
    def order(self, images: Tensor, labels: Tensor, online: str) -> Tensor:
        """Return the order of a batch in which the members that `EpochPlan.online` asks for come first, `(n,)`."""
        with self._attacked.weights() as forward:
            margin = moments(forward(images), labels)[3]
        return torch.argsort(margin.abs() if online == "boundary" else margin, stable=True)

    def mixed(self, batch: Batch) -> Tensor:
        """Return the images of a batch with adversarial examples of its members."""
        if not batch.size:
            return batch.images
        if self.replayed is not None:
            return self.replayed.mixed(batch)
        attack, strength = self._attack, batch.strength
        starts: Starts = (None,)
        if batch.keys is not None:
            radius = attack.start_radius if strength is None else (strength * attack.start_radius).float()
            drawn = random_starts(OPS, attack, batch.keys[: batch.size], self._shape, radius)
            starts = [start.to(batch.images) for start in drawn]
        with self._attacked.weights() as forward:

            def attacked(x: Tensor, y: Tensor, starts: Starts) -> Tensor:
                return perturb(forward, x, y, attack, starts, strength=strength, gradient_scale=self._scale)

            members = batch.members if batch.padded else None
            return attack_first(OPS, attacked, batch.images, batch.labels, starts, batch.size, members)

    def state(self) -> State:
        """Return what is kept from step to step."""
        return {} if self.replayed is None else self.replayed.state()

    def load_state(self, state: Mapping[str, np.ndarray]) -> State:
        """Take over what `state` returned, and return the rest of `state`."""
        if self.replayed is not None:
            self.replayed.load_state({name: value for name, value in state.items() if name == DELTA})
        return {name: value for name, value in state.items() if self.replayed is None or name != DELTA}


@final
class Replayed:
    """δ of Free-AT (Shafahi et al. 2019, algorithm 1), which is kept from batch to batch by position.

    Args:
        attack: Its norm, radius and step size.
        images: A batch of zeros, of the shape and type of δ.
    """

    def __init__(self, attack: AttackSpec, images: Tensor) -> None:
        self._attack, self._geometry = attack, get_geometry(attack.norm, OPS)
        self.delta = images

    def mixed(self, batch: Batch) -> Tensor:
        """Return the batch with δ added to the images of the members."""
        moved = (batch.images + self.delta).clamp(0, 1)
        return torch.where(self._where(batch), moved, batch.images)

    @torch.no_grad()
    def move(self, batch: Batch, gradient: Tensor) -> None:
        """Move δ along the gradient of the loss Σ w·ℓ / Σ w, times any constant, over the mixed images."""
        # Of Σ ℓ: a gradient that is divided by Σ w could be lost in the constant beside norms.
        gradient = gradient * (batch.total / batch.weights).to(gradient)[:, None, None, None]
        direction = self._geometry.ascent_direction(gradient).nan_to_num(0.0)  # where float16 overflows
        eps, step_size = (
            size if batch.strength is None else (batch.strength * size).to(gradient)
            for size in (self._attack.eps, self._attack.step_size)
        )
        moved = self._geometry.project(self.delta + step_size * direction, eps)
        moved = (batch.images + moved).clamp(0, 1) - batch.images
        self.delta.copy_(torch.where(self._where(batch), moved, self.delta))

    def _where(self, batch: Batch) -> Tensor:
        return batch.is_member(len(batch.images))[:, None, None, None]

    def state(self) -> State:
        """Return δ as `(n, h, w, c)`."""
        return {DELTA: np.ascontiguousarray(to_numpy(self.delta).transpose(0, 2, 3, 1))}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over what `state` returned; CheckpointError if it is missing or of another shape."""
        check_state(self.state(), state, "optimiser")
        self.delta.copy_(torch.from_numpy(np.array(state[DELTA])).permute(0, 3, 1, 2))
