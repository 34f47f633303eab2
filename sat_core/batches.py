"""Epoch plans: everything that the core decides for the steps of an epoch, as arrays that are uploaded once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import final

import attrs
import numpy as np

from sat_core.augmentation import AUGMENTATIONS, Moves
from sat_core.errors import SpecError
from sat_core.images import ImageSource
from sat_core.noise import example_keys
from sat_core.schedules import parse_schedule
from sat_core.sections import AttackSpec, TrainingSpec
from sat_core.splits import Split
from sat_core.streams import stream


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
        keys: Of the random starts, uint32 `(S, n, 2)`; None without. See `sat_core.noise`.
        draws: Uniforms `(S, n, d)` that place resized crops where images are decoded; None without.
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

        ``index``, ``members``, ``weights``, ``totals``, ``lr``, and where there are any ``integers``, ``factors`` and
        ``keys``.
        """
        optional = {"keys": self.keys}
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


def check_devices(training: TrainingSpec, devices: int) -> None:
    """Raise SpecError if a training cannot run on so many devices together."""
    check_shares(training.batch_size, devices)
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


@final
@attrs.frozen
class Planner:
    """Plans the batches of a training. Each plan depends on these fields alone, so a resumed training draws the same.

    The last incomplete batch of an epoch is dropped, as in the recipe; its examples are not in that epoch.

    Args:
        split: A and B.
        training: Settings of the training.
        attack: Settings of its attack.
        image_shape: `(h, w, c)`.
        streams: Prefix of the purposes of its random streams, so that two trainings with one seed are independent.
    """

    split: Split
    training: TrainingSpec
    attack: AttackSpec
    image_shape: tuple[int, int, int]
    streams: str = ""

    def __attrs_post_init__(self) -> None:
        check_batches(self.training, self.attack, self.examples, self.image_shape)

    @property
    def examples(self) -> int:
        """N, the number of training examples."""
        return len(self.split.members)

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in an epoch."""
        return self.examples // self.training.batch_size

    def unseen(self) -> int:
        """Return how many examples are in no batch of any epoch."""
        unseen = np.ones(self.examples, bool)
        for epoch in range(self.training.epochs):
            unseen[self._order(epoch)] = False
            if not unseen.any():
                break
        return int(unseen.sum())

    def gradients(self, epoch: int) -> int:
        """Return the gradient evaluations of an epoch (from 0), of steps and attacks, counted in examples."""
        order = self._order(epoch)
        return len(order) + int(self.split.members[order].sum()) * self.attack.steps

    def places(self, epoch: int) -> np.ndarray:
        """Return the place of each example in the order of an epoch (from 0), int64 `(N,)`; -1 if it is not in it."""
        order = self._order(epoch)
        places = np.full(self.examples, -1, np.int64)
        places[order] = np.arange(len(order))
        return places

    def lr(self, epoch: int, step: int) -> float:
        """Return the learning rate of a step of an epoch, both from 0."""
        t, done = self.training, epoch * self.steps_per_epoch + step
        return parse_schedule(t.schedule).lr(t.lr, done, self.steps_per_epoch, t.epochs)

    def epoch(self, epoch: int) -> EpochPlan:
        """Return the plan of one epoch (from 0)."""
        steps, size = self.steps_per_epoch, self.training.batch_size
        index = self._order(epoch).reshape(steps, size)
        augmentation = AUGMENTATIONS.get(self.training.augmentation)
        # Order and augmentation do not depend on A: arms with one seed see the same images in the same batches, but
        # for stratified ones, and each image with the same crop. So draws are made first and sorted with the examples.
        draws = augmentation.draw(self._stream("augmentation", epoch), index.size)
        members_first = np.argsort(~self.split.members[index], axis=1, kind="stable")
        index = np.take_along_axis(index, members_first, axis=1)
        if draws is not None:
            draws = np.take_along_axis(draws.reshape(steps, size, -1), members_first[:, :, None], axis=1)
        members = self.split.members[index].sum(axis=1)
        keys = None
        if self.attack.random_start and members.any():
            words = self._stream("start", epoch).integers(0, 2**32, 2, np.uint32)
            keys = example_keys(words, self.examples)[index]
        weights = self.split.example_weights(index)
        return EpochPlan(
            epoch=epoch,
            index=index,
            members=members,
            weights=weights,
            totals=weights.sum(axis=1, dtype=np.float64),
            lr=np.array([self.lr(epoch, step) for step in range(steps)]),
            moves=augmentation.moves(draws),
            keys=keys,
            draws=draws if augmentation.resized_crop else None,
        )

    def _order(self, epoch: int) -> np.ndarray:
        """Return the examples of an epoch, int64, batch by batch; those of the incomplete last batch are dropped."""
        size, steps = self.training.batch_size, self.steps_per_epoch
        order = self._stream("order", epoch).permutation(self.examples)
        if self.training.batches == "random":
            return order[: steps * size]
        # With a share q of the members in A, batch s gets ⌊(s + 1)·q·n⌋ - ⌊s·q·n⌋ of them, in whole numbers.
        is_member = self.split.members[order]
        ends = np.arange(steps + 1) * size * int(is_member.sum()) // self.examples
        members, others = order[is_member], order[~is_member]
        parts = []
        for step in range(steps):
            low, high = ends[step : step + 2]
            parts += [members[low:high], others[step * size - low : (step + 1) * size - high]]
        return np.concatenate(parts)

    def _stream(self, purpose: str, *place: int) -> np.random.Generator:
        return stream(self.training.seed, self.streams + purpose, *place)
