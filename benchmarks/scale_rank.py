"""One process of several that train or attack together, on one thread: ``scale_rank.py WORK SMOKE``, timed by rank 0.

WORK is ``clean``, ``pgd``, ``autoattack`` or ``exchange``. Rank 0 prints the median seconds of a step, of the
evaluation, or of the exchange that tells the other ranks of a step: by the clock, and of its processor.
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # before torch loads

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import keep_memory

from sat_core import get_backend
from sat_core.autoattack import AttackSettings
from sat_core.data import DataSet, Examples
from sat_core.evaluator import get_evaluator
from sat_core.follower import follow
from sat_core.job import Job
from sat_core.leader import leading
from sat_core.process_group import Command
from sat_core.ranking import Ranking
from sat_core.spec import Spec
from sat_core.unit_folder import UnitFolder
from sat_evaluation.run.ranks import join_group

STEPS, BATCH, SIDE = 3, 64, 32
ATTACKED, ATTACK_BATCH = 12, 3
"""Images of the evaluation, and how many of them are attacked together: ranks share whole batches."""


# By name alone it would have five restarts of a hundred steps, which take minutes.
APGD = AttackSettings(name="apgd-ce", iterations=100)


def random_images(n: int, side: int, seed: int) -> Examples:
    """Return random images of ten classes."""
    rng = np.random.default_rng(seed)
    return Examples(rng.integers(0, 256, (n, side, side, 3), np.uint8), np.arange(n) % 10, classes=10)


def job(share: float, smoke: bool, folder: Path) -> Job:
    """Return the training as each rank has it, ResNet-18 or a small network in a smoke round."""
    group, backend = join_group("torch", "cpu"), get_backend("torch")
    backend.join(group)
    batch, side, model = (16, 8, "small-cnn") if smoke else (BATCH, SIDE, "resnet18")
    spec = Spec.from_tables(
        {
            "data": {"name": "random"},
            "model": {"name": model},
            "attack": {"kind": "pgd", "norm": "L2", "eps": 0.5, "steps": 7, "step_size": 0.1},
            "training": {"epochs": 1, "batch_size": batch, "lr": 0.01, "schedule": "constant"},
            "subset": {"size": share},
        }
    )
    facts = {"class_names": tuple("abcdefghij"), "mean": (0.5,) * 3, "std": (0.25,) * 3}
    data = DataSet(
        name="random", train=random_images(STEPS * batch, side, 0), test=random_images(ATTACKED, side, 1), **facts
    )
    return Job(spec=spec, data=data, backend=backend, folder=UnitFolder(folder), group=group)


def seconds_of(call: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds of a call: by the clock, and of the processor, which leave out waiting."""
    clock, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - clock, time.process_time() - cpu


def train(here: Job) -> np.ndarray:
    """Return the median seconds of a step but the first, which is not counted. For rank 0; the others `follow`."""
    with leading(here.group), here.session():
        fit = here.fit(here.build(), Ranking().split(here), "")

        def step(number: int) -> None:
            fit.trainer.step(number)
            fit.trainer.losses(number, number + 1)

        plan = fit.planner.epoch(0)
        fit.trainer.begin(plan)
        return np.median([seconds_of(partial(step, number)) for number in range(plan.steps)][1:], axis=0)


def attack(here: Job) -> np.ndarray:
    """Return the seconds of an evaluation by AutoAttack's first attack. All ranks call this."""
    classifier, images = here.build(), here.data.test.images
    # What the network says, so that every image is attacked.
    labels = classifier.logits(images).argmax(axis=1)
    options: dict[str, Any] = {"norm": "L2", "eps": 0.5, "attacks": (APGD,), "batch_size": ATTACK_BATCH}
    evaluate = partial(get_evaluator(), classifier, images, labels, group=here.group, **options)
    here.group.gather(None)  # They begin together.
    return np.array(seconds_of(evaluate))


def exchange(here: Job) -> np.ndarray:
    """Return the median seconds of telling all ranks of a step. All ranks call this."""
    lead = here.group.rank == 0
    tell = partial(here.group.lead, Command.STEP, 1) if lead else here.group.listen
    return np.median([seconds_of(tell) for _ in range(200)], axis=0)


def main(work: str, smoke: bool) -> None:
    """Do the work, and print its seconds on rank 0."""
    torch.set_num_threads(1)
    keep_memory()
    with tempfile.TemporaryDirectory() as folder:
        here = job(0.0 if work == "clean" else 1.0, smoke, Path(folder))
        if work in ("clean", "pgd"):
            if here.group.rank > 0:
                return follow(here, Ranking().split(here))
            seconds = train(here)
        else:
            seconds = {"autoattack": attack, "exchange": exchange}[work](here)
        if here.group.rank == 0:
            print(*seconds.tolist(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] == "smoke")
