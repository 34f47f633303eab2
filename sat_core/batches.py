"""Batch plans: what the core decides for one training step, as indices and small draws."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import final

import attrs
import numpy as np

from sat_core.augmentation import AUGMENTATIONS, Augmentation
from sat_core.errors import SpecError
from sat_core.images import ImageSource, Request
from sat_core.schedules import parse_schedule
from sat_core.sections import AttackSpec, TrainingSpec
from sat_core.splits import Split
from sat_core.streams import stream
from sat_core.threat import THREAT_MODELS


@final
@attrs.frozen(kw_only=True, eq=False)
class BatchPlan:
    """One step. index: int64 `(n,)`, example numbers. members: bool `(n,)`, True in A. weights: float32 `(n,)`.

    lr: learning rate of this step. draws: uniforms `(n, d)` for `sat_core.augmentation`, or None. start: random
    start of the members, float32 `(|members|, h, w, c)`, or None. epoch and step count from 0; step within the epoch.
    images: uint8 `(n, h, w, c)`, where the trainer does not hold them.
    """

    epoch: int
    step: int
    index: np.ndarray
    members: np.ndarray
    weights: np.ndarray
    lr: float
    draws: np.ndarray | None = None
    start: np.ndarray | None = None
    images: np.ndarray | None = None


@final
@attrs.frozen
class Planner:
    """Makes every batch plan of a training; a pure function of its fields, so that any step can be planned alone.

    streams: prefix of the purposes of its random streams, so that two kinds of training with one seed are independent.
    The last incomplete batch of an epoch is dropped, as the recipe does; an example then sits out that epoch.
    """

    split: Split
    training: TrainingSpec
    attack: AttackSpec
    image_shape: tuple[int, int, int]
    streams: str = ""

    def __attrs_post_init__(self) -> None:
        if self.training.batch_size > self.examples:
            raise SpecError(
                f"training.batch_size: expected at most the {self.examples} training examples, "
                f"got {self.training.batch_size}"
            )
        self.attack.check_images(self.image_shape)

    @property
    def examples(self) -> int:
        """N."""
        return len(self.split.members)

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch."""
        return self.examples // self.training.batch_size

    def unseen(self) -> int:
        """How many examples are in no batch of any epoch."""
        unseen = np.ones(self.examples, bool)
        for epoch in range(self.training.epochs):
            unseen[self._seen(epoch)] = False
            if not unseen.any():
                break
        return int(unseen.sum())

    def gradients(self, epoch: int) -> int:
        """Gradient evaluations of one epoch (from 0), of steps and attacks together, counted in examples."""
        seen = self._seen(epoch)
        return len(seen) + int(self.split.members[seen].sum()) * self.attack.steps

    def places(self, epoch: int) -> np.ndarray:
        """The place of each example in the order of an epoch (from 0), int64 `(N,)`; -1 for those that sit it out."""
        seen = self._seen(epoch)
        places = np.full(self.examples, -1, np.int64)
        places[seen] = np.arange(len(seen))
        return places

    def lr(self, epoch: int, step: int) -> float:
        """The learning rate of a step of an epoch, both from 0."""
        t, done = self.training, epoch * self.steps_per_epoch + step
        return parse_schedule(t.schedule).lr(t.lr, done, self.steps_per_epoch, t.epochs)

    def _seen(self, epoch: int) -> np.ndarray:
        return self._order(epoch)[: self.steps_per_epoch * self.training.batch_size]

    def _order(self, epoch: int) -> np.ndarray:
        return self._stream("order", epoch).permutation(self.examples)

    def _stream(self, purpose: str, *place: int) -> np.random.Generator:
        return stream(self.training.seed, self.streams + purpose, *place)

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[BatchPlan]:
        """The plans of one epoch (from 0), from `first_step` on."""
        order = self._order(epoch)
        for step in range(first_step, self.steps_per_epoch):
            yield self._plan(epoch, step, order[step * self.training.batch_size :][: self.training.batch_size])

    def _plan(self, epoch: int, step: int, index: np.ndarray) -> BatchPlan:
        t = self.training
        members = self.split.members[index]
        start = None
        if self.attack.random_start and members.any():
            rng = self._stream("start", epoch, step)
            shape = (int(members.sum()), *self.image_shape)
            start = THREAT_MODELS.get(self.attack.norm).random_start(rng, shape, self.attack.eps)
        return BatchPlan(
            epoch=epoch,
            step=step,
            index=index,
            members=members,
            weights=self.split.example_weights(index),
            lr=self.lr(epoch, step),
            draws=AUGMENTATIONS.get(t.augmentation).draw(self._stream("augmentation", epoch, step), len(index)),
            start=start,
        )


def with_images(plans: Iterable[BatchPlan], images: np.ndarray, augmentation: Augmentation) -> Iterator[BatchPlan]:
    """The plans, with their images where these are decoded when asked for; `plans` is then read ahead."""
    if not isinstance(images, ImageSource):
        yield from plans
        return
    waiting: deque[BatchPlan] = deque()

    def requests() -> Iterator[Request]:
        for plan in plans:
            waiting.append(plan)
            yield plan.index, plan.draws if augmentation.resized_crop else None

    for batch in images.stream(requests()):
        yield attrs.evolve(waiting.popleft(), images=batch)
