"""What a trainer must offer: it runs the training steps that the core plans."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, final

import numpy as np

from sat_core.classifier import State

if TYPE_CHECKING:
    from sat_core.epoch_plan import EpochPlan
    from sat_core.moments import Moments

DELTA = "attack.delta"
AVERAGE = "average."
"""Names of Free-AT's δ, and the beginning of those of averaged weights, in the state of a trainer."""


class Trainer(ABC):
    """Runs the training steps that the core plans. It holds the training data, on its device, and the optimiser.

    Steps are queued and nothing waits for the device; what they leave behind stays there until one of `losses`,
    `moments` and `logits` reads it.
    """

    def share(self, plan: EpochPlan) -> EpochPlan:
        """Return the part of a plan whose images `step` takes: all of it, unless several ranks share each batch."""
        return plan

    @abstractmethod
    def begin(self, plan: EpochPlan, *, record: bool = False) -> None:
        """Copy the plan of an epoch to the device.

        Args:
            plan: Of the epoch, any of whose steps come next.
            record: Whether `moments` will be read.
        """

    @abstractmethod
    def step(self, number: int, images: np.ndarray | None = None) -> None:
        """Make a step of the plan.

        A step: gather and augment the batch, and mix it as the plan says; attack the members of A in evaluation mode;
        one forward in training mode over the mixed batch; loss = Σ w·ℓ / Σ w; optimiser step with the plan's learning
        rate. Of a classifier `with_head`, only the head learns, and all else stays in evaluation mode.

        What the settings may add, in this order:

        - ``attack.kind = "free"``: the attack is left out. The batch is trained on `replays` times; each time δ of the
          first `members` images moves along the gradient of their Σ ℓ in that training step:
          δ ← clip(x + P_ε(δ + α·v(∇ℓ))) - x. It begins at 0 and is kept from batch to batch, by position in the batch
          (Shafahi et al. 2019, algorithm 1), and in `state` as ``attack.delta``, float32 `(n, h, w, c)`.
        - A loss with `pairs`: the clean images of the members follow the mixed batch in the same forward.
        - ``training.micro_batches``: part k of K is `EpochPlan.share` k of K, attacked, sent through and added up one
          after the other.
        - ``training.awp``: of each weight with more than one axis, in the parts that learn, γ·‖w‖·g/‖g‖ is added for
          the training forward and taken away before the optimiser's step, with g the gradient of the members' part of
          the loss in training mode; statistics of BatchNorm move only once. Nothing is added without members.
        - ``training.clip_norm``: the gradient of the whole batch times min(1, clip_norm / ‖g‖).
        - An average: after the optimiser's step, of all weights and statistics of floating point; it begins as those
          with which the trainer is made.

        Where the backend has joined a group (`Backend.join`), the plan is the share of this rank. Σ w is then that of
        the whole batch, gradients are summed over all ranks, and so are the statistics of BatchNorm if
        ``training.batch_norm`` is global: every rank makes the step that one device would make with the whole batch.
        The attack takes part in no sum, as ranks may have different numbers of members, or none.

        Args:
            number: Of the step in the epoch, from 0.
            images: uint8 `(n, h, w, c)`, where images are decoded on demand.
        """

    @abstractmethod
    def losses(self, first: int, last: int) -> np.ndarray:
        """Return Σ w·ℓ / Σ w of the steps first … last - 1 of the epoch, floats `(last - first,)`; waits for them.

        Of a share, Σ w·ℓ is over the share.
        """

    @abstractmethod
    def moments(self, first: int, last: int) -> Moments:
        """Return statistics of the training forwards of steps first … last - 1, float64; waits for them.

        The order is that of ``plan.index[first:last].ravel()``.
        """

    @abstractmethod
    def logits(self) -> np.ndarray:
        """Return those of the training forward of the last step, float32 `(n, k)`; waits for it."""

    def order(self, first: int, last: int) -> np.ndarray:
        """Return the order into which steps first … last - 1 of a plan with `online` have put their batches.

        Positions in ``plan.index[step]``, int64 `(last - first, n)`; waits for the steps.
        """
        raise NotImplementedError

    def averaged(self) -> AbstractContextManager[None]:
        """Inside, the classifier has the averaged weights, where the plan asks for an average; then its own again."""
        return nullcontext()

    @abstractmethod
    def state(self) -> State:
        """Return optimiser buffers, loss scale and counters, and the average as ``average.<name>``."""

    @abstractmethod
    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from what `state` returned, as if the training had never stopped."""

    @final
    def run(self, plan: EpochPlan, first: int = 0) -> np.ndarray:
        """Make all steps of an epoch from `first` on, of images that are in memory; returns their losses."""
        self.begin(plan)
        for number in range(first, plan.steps):
            self.step(number)
        return self.losses(first, plan.steps)
