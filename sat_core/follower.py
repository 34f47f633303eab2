"""What every rank of a group but the first does: it follows rank 0 through a training, a ranking or an evaluation.

Only rank 0 reads and writes files of a run, picks epochs and ends the run; so all of that is the same for any number of
ranks. The others have the same job, make the same plans, and do as they are told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import final

import numpy as np

from sat_core.errors import Interrupted
from sat_core.extra_pass import measured
from sat_core.job import Job
from sat_core.leader import statistics
from sat_core.process_group import Command
from sat_core.splits import Split, split_of
from sat_core.trainer import Trainer


def follow(job: Job, split: Split) -> None:
    """Do what rank 0 tells, until it ends the job.

    Args:
        job: The same as on rank 0, but for its group, in which this is another rank.
        split: A and B, of the training if there is one.
    """
    # Rank 0 may have nothing to do, and a session of some frameworks begins on all ranks or on none.
    if job.group.listen(stop=job.stop())[0] == Command.START:
        with job.session():
            _Follower(job, split).run()


@final
class _Follower:
    def __init__(self, job: Job, split: Split) -> None:
        self._job, self._group = job, job.group
        self._planner = job.planner(split)
        self._classifier = job.build()
        self._trainer: Trainer
        self._with_images = True
        self._images: Iterator[np.ndarray | None] | None = None
        self._do: dict[Command, Callable[[int, int], object]] = {
            Command.TRAINER: self._make_trainer,
            Command.MODEL: lambda *_: self._classifier.load_state(self._group.broadcast()),
            Command.STATE: self._load_state,
            Command.BEGIN: self._begin,
            Command.STEP: self._step,
            Command.LOSSES: lambda first, last: self._group.gather(self._trainer.losses(first, last)),
            Command.MOMENTS: lambda first, last: self._group.gather(self._trainer.moments(first, last)),
            Command.LOGITS: lambda *_: self._group.gather(self._trainer.logits()),
            Command.RECORD: lambda *_: statistics(self._classifier, job.data.train, self._group),
            Command.ATTACK: self._attack,
            Command.SPLIT: self._new_split,
            Command.MEASURE: self._measure,
        }

    def run(self) -> None:
        """Listen until the end."""
        while (heard := self._group.listen(stop=self._job.stop()))[0] != Command.END:
            command, first, second = heard
            self._do[command](first, second)

    def _make_trainer(self, *_: int) -> None:
        # Features are read, as rank 0 has saved them all by now.
        features = self._job.features(self._group.broadcast())
        self._with_images = features is None
        self._trainer = self._job.trainer(self._classifier, features)

    def _load_state(self, *_: int) -> None:
        model, trainer = self._group.broadcast()
        self._classifier.load_state(model)
        self._trainer.load_state(trainer)

    def _begin(self, epoch: int, record: int) -> None:
        self._plan = self._planner.epoch(epoch).share(self._group.rank, self._group.size)
        self._images = None
        self._trainer.begin(self._plan, record=bool(record))

    def _step(self, number: int, _: int) -> None:
        if self._images is None:
            images = self._job.data.train.images if self._with_images else np.empty(0)
            self._images = self._plan.decoded(images, number)
        self._trainer.step(number, next(self._images))

    def _new_split(self, *_: int) -> None:
        spec, units = self._job.spec, self._group.broadcast()
        split = split_of(units, len(units), spec.subset, spec.weighting.rule, self._job.data)
        self._planner = self._job.planner(split)

    def _measure(self, number: int, _: int) -> None:
        with suppress(Interrupted):
            measured(self._job, self._classifier, self._job.spec.ranking.extra[number])

    def _attack(self, *_: int) -> None:
        attacks, stage = self._group.broadcast()
        # Whatever the reason, rank 0 has heard of it, and ends the job.
        with suppress(Interrupted):
            self._job.evaluate(self._classifier, attacks, stage)
