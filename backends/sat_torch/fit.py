"""The SAT step inside of other people's trainers, such as Lightning's."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch.distributed as dist
from torch import Tensor, nn

from sat_core.attack_spec import AttackSpec
from sat_core.errors import DataError, SpecError, type_name
from sat_core.loss_spec import PLAIN, LossSpec
from sat_core.splits import Split
from sat_torch.step import SubsetAdversarialStep


class SubsetAdversarialMixin:
    """Gives a `LightningModule` a `training_step` that attacks members of A; comes before it in the list of bases.

    Call `attack_members` at the end of `__init__`, and give the trainer a `DataLoader` over `WithIndex(dataset)`. What
    `SubsetAdversarialStep` says of batches holds here, too. Nothing of Lightning is imported, so that any trainer that
    calls `training_step(batch, batch_idx)` of a module will do.
    """

    _subset_step: SubsetAdversarialStep | None = None

    def attack_members(
        self,
        split: Split,
        attack: AttackSpec,
        *,
        network: nn.Module | None = None,
        rng: np.random.Generator | None = None,
        loss: LossSpec = PLAIN,
    ) -> None:
        """Say whom `training_step` attacks, and how.

        Args:
            split: which examples are in A, and their weights.
            attack: how they are attacked.
            network: images `(n, c, h, w)` in [0, 1] to logits, normalising inside; by default this module.
            rng: draws the random start, if the attack has one; on several ranks, give each its own seed.
            loss: what is minimised; see `sat_core.step.AdversarialStep`.

        Raises:
            SpecError: for settings that `SubsetAdversarialStep` refuses.
        """
        model: Any = self if network is None else network
        self._subset_step = SubsetAdversarialStep(model, split, attack, rng, loss)

    def training_step(self, batch: Any, batch_idx: int = 0) -> dict[str, Tensor]:
        """Attack the members of a batch and compute the loss, ready for `backward`.

        On several ranks whose gradients are averaged, as by DistributedDataParallel, it is this rank's part of the
        loss of the whole batch, times the number of ranks.

        Args:
            batch: images, labels and index.
            batch_idx: not used.

        Returns:
            ``loss``: Σ w·ℓ / Σ w. ``logits``: of the mixed batch, `(n, k)`, without gradients. ``attacked``: the number
            of members in the batch.

        Raises:
            DataError: for batches that do not fit.
            SpecError: without `attack_members`.
        """
        if (step := self._subset_step) is None:
            raise SpecError("training_step: call self.attack_members(split, attack) at the end of __init__")
        if not isinstance(batch, tuple | list) or len(batch) != 3:
            got = f"{len(batch)} of them" if isinstance(batch, tuple | list) else type_name(batch)
            raise DataError(
                f"training_step: expected a batch (images, labels, index), got {got}\n"
                "number the examples: DataLoader(WithIndex(dataset), ...)"
            )
        images, labels, index = batch
        logits = step.forward(step.mix(images, labels, index), images, index)
        total, weight = step.losses(logits, labels, index)
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(weight)
            total = total * dist.get_world_size()
        return {
            "loss": total / weight,
            "logits": logits[: len(labels)].detach(),
            "attacked": step.members_in(index),
        }
