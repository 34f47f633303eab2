"""One rank of a short training on a device: ``gpu_ranks.py DEVICE SMOKE``; rank 0 prints losses and seconds as JSON.

NCCL refuses two ranks on one card, so that they add up by gloo, through the host: this says whether the step of several
ranks is right on a GPU, and not how fast it is.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial

import attrs
import numpy as np
from gpu_setup import SMOKE, Bench, Size, build, learnable_examples
from gpu_training import PGD7, settings, training

from sat_core.backend import get_backend
from sat_evaluation.run.ranks import join_group

_LAUNCH = (
    "import sys; from sat_evaluation.run.launch import launch_ranks; end = launch_ranks(sys.argv[2:], int(sys.argv[1]))"
)
_FIRST = 5
"""Steps that are not timed: algorithms are chosen and graphs captured in them."""


def losses_and_seconds(bench: Bench, ranks: int) -> tuple[np.ndarray, float]:
    """Return the losses of a training by so many ranks that torchrun starts, and the seconds of its later steps.

    ranks: 0 for a process without torchrun.
    """
    launched = ["-c", f"{_LAUNCH}; sys.exit(end.reason or end.status)", str(ranks)] if ranks else []
    command = [sys.executable, *launched, __file__, bench.backend.device, str(int(bench.size == SMOKE))]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    content = json.loads(done.stdout.splitlines()[-1])
    return np.array(content["losses"]), content["seconds"]


def main(device: str, smoke: bool) -> None:
    """Train, and print on rank 0."""
    group, backend = join_group("", "cpu"), get_backend("torch", device)
    backend.join(group)
    bench = Bench(backend, SMOKE if smoke else Size())
    batch, steps, pgd_steps = bench.size.reference
    data, attack = learnable_examples(batch * steps, bench.size.side), attrs.evolve(PGD7, steps=pgd_steps)
    spec = settings(bench, batch_size=batch, lr=0.001, batches="stratified", threads=1)
    with training(backend, build(backend, bench.size.small, data), data, spec, 0.5, attack) as run:
        plan = run.planner.epoch(0).share(group.rank, group.size)
        run.trainer.begin(plan)
        seconds = [bench.seconds(partial(run.trainer.step, step)) for step in range(plan.steps)]
        losses = np.sum(group.gather(run.trainer.losses(0, plan.steps)), axis=0)
    if group.rank == 0:
        print(json.dumps({"losses": losses.tolist(), "seconds": float(np.median(seconds[_FIRST:]))}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] == "1")
