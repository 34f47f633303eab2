"""The SAT step as a building block, for people with a training loop and a DataLoader of their own."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset

from sat_core.arrays import check_batch
from sat_core.ascent import Starts, attack_members
from sat_core.attack_spec import AttackSpec
from sat_core.errors import DataError, type_name
from sat_core.loss_spec import PLAIN, LossSpec
from sat_core.splits import Split
from sat_core.step import AdversarialStep
from sat_torch.attacks import perturb
from sat_torch.losses import cross_entropy, onehot
from sat_torch.modes import frozen, run
from sat_torch.ops import OPS


@final
class SubsetAdversarialStep(AdversarialStep):
    """Makes adversarial examples for members of A in a batch, and weighs the loss.

    The attack runs in evaluation mode and leaves modes, weights and gradients as they were. It runs on the module
    inside of DistributedDataParallel or DataParallel, so that ranks with different numbers of members do not wait for
    each other.

    In all calls images are floats `(n, c, h, w)`, labels integers `(n,)`, index integers `(n,)` the numbers of the
    examples in the split. Types and shapes are checked in every batch, pixels and numbers in the first, as reading
    them stalls a GPU.

    Args:
        model: images `(n, c, h, w)` in [0, 1] to logits, normalising inside.
        split: which examples are in A, and their weights.
        attack: how they are attacked.
        rng: draws the random start, if the attack has one; on several ranks, give each its own seed.
        loss: what is minimised; see `sat_core.step.AdversarialStep`.

    Raises:
        SpecError: for an attack with a random start and no `rng`, or that is too strong for the images, or settings
            that need the epochs of a training.
        DataError: for batches that do not fit.
    """

    layout = "n, c, h, w"
    backend = OPS.backend

    def __init__(
        self,
        model: nn.Module,
        split: Split,
        attack: AttackSpec,
        rng: np.random.Generator | None = None,
        loss: LossSpec = PLAIN,
    ) -> None:
        super().__init__(model, split, attack, rng, loss)
        self._attacked = _without_parallel(model)
        self._checked = False

    def __call__(self, images: Tensor, labels: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mixed batch and its loss Σ w·ℓ / Σ w, ready for `backward`.

        The forward runs in the model's own mode.
        """
        mixed = self.mix(images, labels, index)
        return mixed, self.loss(self.forward(mixed, images, index), labels, index)

    def forward(self, mixed: Tensor, images: Tensor, index: Tensor) -> Tensor:
        """Return the logits of what `mix` made of `images`, in the model's own mode, for `loss` and `losses`.

        For a loss with `pairs`, those of the members' clean images follow.
        """
        if self._kind.pairs:
            # in one forward, as the statistics of BatchNorm are of clean and adversarial images together
            mixed = torch.cat([mixed, images[self._rows(index, images)].to(mixed)])
        return run(self.model, mixed)

    def mix(self, images: Tensor, labels: Tensor, index: Tensor) -> Tensor:
        """Return `images` with adversarial examples in place of the members of A; float32, whatever the network is."""
        self._check(images, labels, index)
        images = images if images.dtype == torch.float64 else images.float()
        members = self.split.members[index.cpu().numpy()]
        starts: list[np.ndarray | None] = [None]
        if self.attack.random_start and members.any():
            c, h, w = images.shape[1:]
            # drawn in numpy's layout, so that a seed gives the same start in both backends
            starts = [self._random_start((int(members.sum()), h, w, c)) for _ in range(self.attack.restarts)]

        def attacked(x: Tensor, y: Tensor, starts: Starts) -> Tensor:
            return perturb(partial(run, self._attacked), x, y, self.attack, starts)

        # only the attack has BatchNorm in evaluation mode; the mixed batch goes through the model in the caller's mode
        # (recipe, section 3, steps 2 and 4)
        with frozen(self._attacked):
            return attack_members(OPS, attacked, images, labels.long(), members, starts)

    def members_in(self, index: Tensor) -> Tensor:
        """Return how many of the examples are members of A."""
        return torch.tensor(int(self.split.members[index.cpu().numpy()].sum()))

    def losses(self, logits: Tensor, labels: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return Σ w·ℓ and Σ w over the batch apart, at least in float32, for a batch that is made of several parts.

        The loss of the whole batch is the sum of all Σ w·ℓ over the sum of all Σ w; the mean of the parts' own losses
        is another number. Micro-batches: call `backward` on each Σ w·ℓ, then divide every gradient by the sum of all
        Σ w. DistributedDataParallel averages gradients over its ranks: `all_reduce` Σ w, then call `backward` on
        ranks · Σ w·ℓ / Σ w.
        """
        check_batch(labels, index)
        wide, labels = logits if logits.dtype == torch.float64 else logits.float(), labels.long()
        weights = torch.from_numpy(self.split.example_weights(index.cpu().numpy())).to(wide)
        if self.loss_spec.plain:
            losses = cross_entropy(wide, labels)
        else:
            rows = self._rows(index, wide)
            self._check_logits(len(wide), len(labels), len(rows))
            targets = onehot(labels, wide.shape[1], wide)
            losses = self._losses(OPS, wide, targets, len(labels), rows)
        return (weights * losses).sum(), weights.sum()

    def _rows(self, index: Tensor, like: Tensor) -> Tensor:
        rows: Tensor = OPS.tensor(np.flatnonzero(self.split.members[index.cpu().numpy()]), like)
        return rows

    def _check(self, images: Tensor, labels: Tensor, index: Tensor) -> None:
        self._check_shapes(images, labels, index)
        if not self._checked and len(images):
            self._check_values(float(images.min()), float(images.max()), int(index.min()), int(index.max()))
            self._checked = True


def _without_parallel(model: nn.Module) -> nn.Module:
    """Return the module inside of a parallel wrapper, also where the wrapper is compiled; any other as it is.

    DistributedDataParallel waits for all ranks in the backward pass, and ranks have different numbers of members.
    """
    wrapper: Any = getattr(model, "_orig_mod", model)
    parallel = isinstance(wrapper, nn.parallel.DistributedDataParallel | nn.DataParallel)
    return _without_parallel(wrapper.module) if parallel else model


@final
class WithIndex(Dataset[Any]):
    """A data set whose items carry their number.

    (image, label) becomes (image, label, index), and a dict gets a key "index". Of a `Subset`, nested or not, it is the
    number in the full data set below, so that a split over that one still holds. Any other data set numbers its own
    items from 0, also a `ConcatDataset` or a `select` of Hugging Face's.

    Raises:
        DataError: for other items, and for a dict that has an "index".
    """

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> tuple[Any, ...] | dict[Any, Any]:
        """Return the item at `index` with its number."""
        # the range turns -1 into the last number
        item, number, dataset = self.dataset[index], range(len(self))[index], self.dataset
        while isinstance(dataset, Subset):
            number, dataset = int(dataset.indices[number]), dataset.dataset
        if isinstance(item, tuple | list):
            return (*item, number)
        if not isinstance(item, Mapping):
            raise DataError(f"WithIndex: expected items (image, label) or dicts, got {type_name(item)}")
        if "index" in item:
            raise DataError('WithIndex: expected dicts without a key "index"; rename it, or use it if it is the number')
        return {**item, "index": number}
