"""Plans the batches of a training."""

from __future__ import annotations

from typing import final

import attrs
import numpy as np

from sat_core.attack_spec import AttackSpec
from sat_core.augmentation import AUGMENTATIONS
from sat_core.averaging import decays
from sat_core.epoch_plan import EpochPlan, check_batches
from sat_core.loss_spec import PLAIN, LossSpec
from sat_core.member_losses import LOSSES
from sat_core.mixing import draw_mixes
from sat_core.noise import example_keys
from sat_core.online import drawn_members, ends
from sat_core.schedules import parse_length, parse_schedule
from sat_core.selection import LOOKING
from sat_core.splits import Split
from sat_core.streams import stream
from sat_core.training_spec import TrainingSpec


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
        loss: What is minimised.
        factors: Of the examples' weights, float32 `(N,)`; None where all are 1.
    """

    split: Split
    training: TrainingSpec
    attack: AttackSpec
    image_shape: tuple[int, int, int]
    streams: str = ""
    loss: LossSpec = PLAIN
    factors: np.ndarray | None = None

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

    def cost(self, members: int, examples: int) -> tuple[int, int]:
        """Return the gradient evaluations of attacks and of training steps on so many examples, counted in examples."""
        of_step = examples * self.attack.replays
        if LOSSES.get(self.loss.kind).pairs:
            of_step += members
        # The gradient that perturbs the weights is that of the mixed batch, which goes through once more.
        of_step += examples if self.training.awp and members else 0
        return members * self.attack.passes, of_step

    def places(self, epoch: int) -> np.ndarray:
        """Return the place of each example in the order of an epoch (from 0), int64 `(N,)`; -1 if it is not in it."""
        order = self._order(epoch)
        places = np.full(self.examples, -1, np.int64)
        places[order] = np.arange(len(order))
        return places

    def lr(self, epoch: int, step: int) -> float:
        """Return the learning rate of a step of an epoch, both from 0."""
        t, done, per_epoch = self.training, epoch * self.steps_per_epoch + step, self.steps_per_epoch
        share = parse_length(t.warmup).passed(done, per_epoch)
        return share * parse_schedule(t.schedule).lr(t.lr, done, per_epoch, t.epochs)

    def epoch(self, epoch: int) -> EpochPlan:
        """Return the plan of one epoch (from 0)."""
        steps, size = self.steps_per_epoch, self.training.batch_size
        index, is_member = self._batches(epoch)
        augmentation = AUGMENTATIONS.get(self.training.augmentation)
        # Order and augmentation do not depend on A: arms with one seed see the same images in the same batches, but
        # for stratified ones, and each image with the same crop. So draws are made first and sorted with the examples.
        draws = augmentation.draw(self._stream("augmentation", epoch), index.size)
        members_first = np.argsort(~is_member, axis=1, kind="stable")
        index = np.take_along_axis(index, members_first, axis=1)
        if draws is not None:
            draws = np.take_along_axis(draws.reshape(steps, size, -1), members_first[:, :, None], axis=1)
        members = is_member.sum(axis=1)
        keys = None
        if self.attack.random_start and members.any():
            words = self._stream("start", epoch).integers(0, 2**32, (self.attack.restarts, 2), np.uint32)
            keys = np.concatenate([example_keys(of_restart, self.examples) for of_restart in words], axis=1)[index]
        weights = np.where(np.arange(size) < members[:, None], *self.split.weights).astype(np.float32)
        if self.factors is not None:
            weights = weights * self.factors[index]
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
            beta=self._line(epoch, *self.loss.betas) if any(self.loss.betas) else None,
            strength=self._strength(epoch),
            decay=decays(self.training.averaging, epoch, self.training.epochs, steps),
            mixes=draw_mixes(self.training.mixing, self._stream("mixing", epoch), steps, size, self.image_shape),
            online=self.split.online if self.split.online in LOOKING else "",
        )

    def _line(self, epoch: int, first: float, last: float) -> np.ndarray:
        """Return numbers for the steps of an epoch, of which those of the first and the last step are given."""
        steps = self.steps_per_epoch
        done = (epoch * steps + np.arange(steps)) / max(1, self.training.epochs * steps - 1)
        return first + (last - first) * done

    def _strength(self, epoch: int) -> np.ndarray | None:
        """Return the factors of ε in an epoch: the share of the warm-up that has passed at the end of each step."""
        warmup, steps = parse_length(self.attack.warmup), self.steps_per_epoch
        if not warmup.number:
            return None
        return np.array([warmup.passed(step, steps) for step in range(epoch * steps, (epoch + 1) * steps)])

    def _batches(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the examples of the batches of an epoch, int64 `(S, n)`, and which of them are members, bool."""
        index = self._order(epoch).reshape(self.steps_per_epoch, self.training.batch_size)
        return index, drawn_members(self.split, epoch, *index.shape) if self.split.online else self.split.members[index]

    def _order(self, epoch: int) -> np.ndarray:
        """Return the examples of an epoch, int64, batch by batch; those of the incomplete last batch are dropped."""
        size, steps = self.training.batch_size, self.steps_per_epoch
        order = self._stream("order", epoch).permutation(self.examples)
        # Members that each batch chooses by itself are as many in every batch, whatever the order.
        if self.training.batches == "random" or self.split.online:
            return order[: steps * size]
        # With a share q of the members in A, batch s gets ⌊(s + 1)·q·n⌋ - ⌊s·q·n⌋ of them, in whole numbers.
        is_member = self.split.members[order]
        places = ends(self.split.size, self.examples, steps, size)
        members, others = order[is_member], order[~is_member]
        parts = []
        for step in range(steps):
            low, high = places[step : step + 2]
            parts += [members[low:high], others[step * size - low : (step + 1) * size - high]]
        return np.concatenate(parts)

    def _stream(self, purpose: str, *place: int) -> np.random.Generator:
        return stream(self.training.seed, self.streams + purpose, *place)
