"""What a trainer must offer: it runs the training steps that the core plans."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import attrs
import numpy as np

from sat_core.classifier import State

if TYPE_CHECKING:
    from sat_core.batches import BatchPlan


@attrs.frozen
class StepResult:
    """What one training step leaves behind.

    Args:
        loss: returns Σ w·ℓ / Σ w of the batch. Like `logits` it copies from the device when it is called, so that a
            step that nobody looks at does not stall a GPU.
        logits: returns those of the training forward, float32 `(n, k)`.
    """

    loss: Callable[[], float]
    logits: Callable[[], np.ndarray]


OnBatch = Callable[["BatchPlan", StepResult], None]
"""on_batch(plan, result), called after each step."""


class Trainer(ABC):
    """Runs the training steps that the core plans. It holds the training data, on its device, and the optimiser."""

    @abstractmethod
    def run(self, batches: Iterable[BatchPlan], on_batch: OnBatch) -> None:
        """Make one step for each plan, in order.

        A step: gather and augment the batch; attack the members of A in evaluation mode; one forward in training mode
        over the mixed batch; loss = Σ w·ℓ / Σ w; optimiser step with the plan's learning rate. Of a classifier
        `with_head`, only the head learns, and all else stays in evaluation mode.

        Args:
            batches: ends the training where it ends; it may be read ahead of the steps.
            on_batch: called after each step.
        """

    @abstractmethod
    def state(self) -> State:
        """Return optimiser buffers, loss scale and counters."""

    @abstractmethod
    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from what `state` returned, as if the training had never stopped."""
