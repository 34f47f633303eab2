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
    """What one training step left behind; both are fetched from the device only when called."""

    loss: Callable[[], float]
    logits: Callable[[], np.ndarray]


OnBatch = Callable[["BatchPlan", StepResult], None]


class Trainer(ABC):
    """Runs the training steps that the core plans. It holds the training data, on its device, and the optimiser."""

    @abstractmethod
    def run(self, batches: Iterable[BatchPlan], on_batch: OnBatch) -> None:
        """One step for each plan, in order; `on_batch` after each. Ends when `batches` does.

        A step: gather and augment the batch; attack the members of A in evaluation mode; one forward in training mode
        over the mixed batch; loss = Σ w·ℓ / Σ w; optimiser step with the plan's learning rate. Of a classifier
        `with_head`, only the head learns, and all else stays in evaluation mode.
        """

    @abstractmethod
    def state(self) -> State:
        """Optimiser buffers, loss scale and counters."""

    @abstractmethod
    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from what `state` returned, as if never stopped."""
