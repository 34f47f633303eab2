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
    """Everything that the core decides for one step.

    Attributes:
        epoch, step: From 0; the step within its epoch.
        index: Numbers of the examples, int64 `(n,)`.
        members: True for examples in A, bool `(n,)`.
        weights: Of the examples in the loss, float32 `(n,)`.
        lr: Learning rate.
        draws: Uniforms `(n, d)` for `sat_core.augmentation`; None without augmentation.
        start: Random starts of the members, float32 `(|members|, h, w, c)`; None without.
        images: uint8 `(n, h, w, c)`, where the trainer does not hold all images itself.
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
        if self.training.batch_size > self.examples:
            raise SpecError(
                f"training.batch_size: expected at most the {self.examples} training examples, "
                f"got {self.training.batch_size}"
            )
        self.attack.check_images(self.image_shape)

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
            unseen[self._seen(epoch)] = False
            if not unseen.any():
                break
        return int(unseen.sum())

    def gradients(self, epoch: int) -> int:
        """Return the gradient evaluations of an epoch (from 0), of steps and attacks, counted in examples."""
        seen = self._seen(epoch)
        return len(seen) + int(self.split.members[seen].sum()) * self.attack.steps

    def places(self, epoch: int) -> np.ndarray:
        """Return the place of each example in the order of an epoch (from 0), int64 `(N,)`; -1 if it is not in it."""
        seen = self._seen(epoch)
        places = np.full(self.examples, -1, np.int64)
        places[seen] = np.arange(len(seen))
        return places

    def lr(self, epoch: int, step: int) -> float:
        """Return the learning rate of a step of an epoch, both from 0."""
        t, done = self.training, epoch * self.steps_per_epoch + step
        return parse_schedule(t.schedule).lr(t.lr, done, self.steps_per_epoch, t.epochs)

    def _seen(self, epoch: int) -> np.ndarray:
        return self._order(epoch)[: self.steps_per_epoch * self.training.batch_size]

    def _order(self, epoch: int) -> np.ndarray:
        return self._stream("order", epoch).permutation(self.examples)

    def _stream(self, purpose: str, *place: int) -> np.random.Generator:
        return stream(self.training.seed, self.streams + purpose, *place)

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[BatchPlan]:
        """Yield the plans of one epoch (from 0), from `first_step` on."""
        order = self._order(epoch)
        for step in range(first_step, self.steps_per_epoch):
            yield self._plan(epoch, step, order[step * self.training.batch_size :][: self.training.batch_size])

    def _plan(self, epoch: int, step: int, index: np.ndarray) -> BatchPlan:
        t = self.training
        members = self.split.members[index]
        start = None
        # Each batch has a stream of its own, so that one without members shifts no draw of those after it.
        if self.attack.random_start and members.any():
            rng = self._stream("start", epoch, step)
            shape = (int(members.sum()), *self.image_shape)
            start = THREAT_MODELS.get(self.attack.norm).random_start(rng, shape, self.attack.eps)
        # Order and augmentation do not depend on A: arms with one seed see the same images in the same batches.
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
    """Yield the plans, with images where these are decoded on demand; `plans` is then read ahead."""
    if not isinstance(images, ImageSource):
        yield from plans
        return
    # The source takes requests some batches before it gives their images; the plans in between wait here.
    waiting: deque[BatchPlan] = deque()

    def requests() -> Iterator[Request]:
        for plan in plans:
            waiting.append(plan)
            # A resized crop is cut out while a file is decoded; all other augmentation is the trainer's, on its device.
            yield plan.index, plan.draws if augmentation.resized_crop else None

    for batch in images.stream(requests()):
        yield attrs.evolve(waiting.popleft(), images=batch)
