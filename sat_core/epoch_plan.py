"""Epoch plans: everything that the core decides for the steps of an epoch, as arrays that are uploaded once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import final

import attrs
import numpy as np

from sat_core.attack_spec import AttackSpec
from sat_core.augmentation import Moves
from sat_core.errors import SpecError
from sat_core.images import ImageSource
from sat_core.mixing import Mixes
from sat_core.sections import SubsetSpec
from sat_core.selection import LOOKING, SELECTION_RULES
from sat_core.training_spec import TrainingSpec


@final
@attrs.frozen(kw_only=True, eq=False)
class EpochPlan:
    """Everything that the core decides for the S steps of one epoch, in batches of n examples.

    In each batch the members of A come first, so that an attack takes a slice and not a gather.

    Attributes:
        epoch: From 0.
        index: Numbers of the examples, int64 `(S, n)`.
        members: Number of members of A in each batch, int64 `(S,)`.
        weights: Of the examples in the loss, float32 `(S, n)`.
        totals: Σ w of each whole batch, float64 `(S,)`, also in the `share` of a rank: what the loss is divided by.
        lr: Learning rates, float64 `(S,)`.
        moves: Of the augmentation, `(S, n, …)`; None without.
        keys: Of the random starts, uint32 `(S, n, 2·restarts)`, two words for each restart; None without. See
            `sat_core.noise`.
        draws: Uniforms `(S, n, d)` that place resized crops where images are decoded; None without.
        beta: β of the loss in each step, float64 `(S,)`; None for a loss without.
        strength: Factor of ε, step size and random start in each step, float64 `(S,)`; None where it is 1.
        decay: d of each step, float64 `(S,)`: after it, average ← d·average + (1 - d)·weights; None without an average.
        mixes: With whom the augmented images are mixed, before any is attacked; None for none.
        online: What chooses the members among the images of a batch, in the step itself; empty if the plan has. The
            first `members` are then those with the lowest score of the network as it is, in evaluation mode, of equal
            ones the first: ``hardest`` by the margin p_y - max_{k≠y} p_k, ``boundary`` by its absolute value. Images,
            labels, keys and mixes are put into that order; `weights` are those of the new order already.
    """

    epoch: int
    index: np.ndarray
    members: np.ndarray
    weights: np.ndarray
    totals: np.ndarray
    lr: np.ndarray
    moves: Moves | None = None
    keys: np.ndarray | None = None
    draws: np.ndarray | None = None
    beta: np.ndarray | None = None
    strength: np.ndarray | None = None
    decay: np.ndarray | None = None
    mixes: Mixes | None = None
    online: str = ""

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.index)

    @property
    def batch_size(self) -> int:
        """Examples per step."""
        return int(self.index.shape[1])

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what a trainer needs on its device, by name, with the steps along the first axis.

        ``index``, ``members``, ``weights``, ``totals``, ``lr``, and where there are any ``integers``, ``factors``,
        ``keys``, ``beta``, ``strength``, ``decay``, ``partner``, ``share`` and ``box``.
        """
        optional = {"keys": self.keys, "beta": self.beta, "strength": self.strength, "decay": self.decay}
        if self.mixes is not None:
            optional |= attrs.asdict(self.mixes)
        if self.moves is not None:
            optional |= {"integers": self.moves.integers, "factors": self.moves.factors}
        arrays = {"index": self.index, "members": self.members, "weights": self.weights}
        arrays |= {"totals": self.totals, "lr": self.lr}
        return arrays | {name: array for name, array in optional.items() if array is not None}

    def share(self, rank: int, size: int) -> EpochPlan:
        """Return what one of `size` ranks computes: every `size`-th example of each batch, beginning at `rank`.

        Members come first in the batch, so that they come first in each share, and no rank has two more than another.
        `joined` puts the parts together again.

        Raises:
            SpecError: The batch cannot be divided into equal shares.
        """
        check_shares(self.batch_size, size)
        mine = np.s_[:, rank::size]
        return attrs.evolve(
            self,
            index=self.index[mine],
            # How many of 0 … m - 1 are rank, rank + size, …
            members=-((rank - self.members) // size),
            weights=self.weights[mine],
            moves=self.moves and Moves(self.moves.integers[mine], self.moves.factors[mine]),
            keys=None if self.keys is None else self.keys[mine],
            draws=None if self.draws is None else self.draws[mine],
        )

    def decoded(self, images: np.ndarray, first: int) -> Iterator[np.ndarray | None]:
        """Yield the images of each step from `first` on where these are decoded on demand, else None for each."""
        if not isinstance(images, ImageSource):
            yield from [None] * (self.steps - first)
            return
        draws = [None] * self.steps if self.draws is None else self.draws
        yield from images.stream((self.index[step], draws[step]) for step in range(first, self.steps))


def check_shares(batch_size: int, devices: int) -> None:
    """Raise SpecError if a batch cannot be divided into equal shares."""
    if batch_size % devices:
        raise SpecError(f"training.batch_size: expected a multiple of the {devices} devices, got {batch_size}")


def check_devices(training: TrainingSpec, attack: AttackSpec, devices: int, subset: SubsetSpec | None = None) -> None:
    """Raise SpecError if a training, with A as `subset` says, cannot run on so many devices together."""
    check_shares(training.batch_size, devices)
    if devices > 1 and subset is not None and SELECTION_RULES.get(subset.strategy).online in LOOKING:
        raise SpecError(
            f"subset.strategy: {subset.strategy!r} trains on one device, got {devices}: it compares all images of a "
            "batch; take one device, or 'online-random'"
        )
    if training.batch_size // devices % training.micro_batches:
        raise SpecError(
            f"training.micro_batches: expected a divisor of the {training.batch_size // devices} examples that each of "
            f"{devices} devices has of a batch, got {training.micro_batches}"
        )
    if training.mixing != "none" and devices > 1:
        raise SpecError(
            f'training.mixing: expected "none" where several devices train together, got {training.mixing!r}: images '
            "are mixed with others of the whole batch"
        )
    if attack.free and devices > 1:
        raise SpecError(f"attack.kind: 'free' trains on one device, got {devices}: δ is kept from batch to batch")
    if training.compile and devices > 1:
        raise SpecError(
            f"training.compile: expected false where several devices train together, got true and {devices} devices"
        )


def check_batches(training: TrainingSpec, attack: AttackSpec, examples: int, image_shape: tuple[int, int, int]) -> None:
    """Raise SpecError if a batch has more than all `examples`, or the attack does not fit the images."""
    if training.batch_size > examples:
        raise SpecError(
            f"training.batch_size: expected at most the {examples} training examples, got {training.batch_size}"
        )
    attack.check_images(image_shape)


def joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Return what `EpochPlan.share` has divided along the second axis.

    >>> joined([np.array([[0, 2]]), np.array([[1, 3]])])
    array([[0, 1, 2, 3]])
    """
    first, size = parts[0], len(parts)
    whole = np.empty((len(first), size * first.shape[1], *first.shape[2:]), first.dtype)
    for rank, part in enumerate(parts):
        whole[:, rank::size] = part
    return whole
