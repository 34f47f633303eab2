"""One rank of several that evaluate; `test_attacking_ranks.py` starts them, and compares with a single process."""

import json
import os
import signal
import sys
from pathlib import Path

import torch
from prey import quick, setting

from sat_core.autoattack import ENGINES
from sat_core.errors import EvaluationError, Interrupted
from sat_core.process_group import ALONE
from sat_evaluation.attack import attack_run
from sat_evaluation.run.ranks import join_group

SPECIAL = 4
"""An image in the second batch of the first attack: that of rank 1."""
signals = []


def attack(folder, name, group=ALONE, **options):
    """An evaluation of 17 images in batches of three."""
    options = {"attacks": ("apgd-ce", "fab-t"), "batch_size": 3, **options}
    path = folder / f"{name}.npz" if group.rank == 0 else None
    return quick(*setting(4, n=17), group=group, path=path, **options)


def failing(folder, name, error, group=ALONE):
    """The same, but every batch of three with `SPECIAL` in it fails."""
    special, check = torch.from_numpy(setting(4, n=17)[1][SPECIAL, :, :, 0]), attack_run._check_adversarial

    def checked(name, settings, x, adversarial):
        if len(x) == 3 and any(torch.equal(image[0], special) for image in x):
            raise error
        return check(name, settings, x, adversarial)

    attack_run._check_adversarial = checked
    try:
        return attack(folder, name, group)
    finally:
        attack_run._check_adversarial = check


def told(call):
    """The error of a call."""
    try:
        call()
    except (EvaluationError, Interrupted) as error:
        return f"{type(error).__name__}: {error}"
    return "none"


def send(number, queries):
    """A progress that sends a signal to this process at that query; SIGTERM is a request to stop."""

    def progress(share, attack):
        nonlocal queries
        queries -= 1
        if queries == 0:
            os.kill(os.getpid(), number)
        if signals:
            raise Interrupted("stopped")

    return progress


def main(folder):
    """Everything that needs several ranks, in one start of them."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGTERM, lambda number, _: signals.append(number))
    group = join_group("torch", "cpu")
    last, said = group.rank == group.size - 1, {}
    flags = [attack(folder, engine, group, engine=engine).broken_by.tolist() for engine in ENGINES]
    said["alike"] = flags == group.broadcast(flags)
    failing(folder, "memory", torch.OutOfMemoryError("no room\nat all"), group)
    said["error"] = told(lambda: failing(folder, "error", EvaluationError("not finite"), group))
    stop = {"progress": send(signal.SIGTERM, 120 // group.size)} if last else {}
    said["stop"] = told(lambda: attack(folder, "stop", group, **stop))
    signals.clear()
    (folder / f"{group.rank}.json").write_text(json.dumps(said))
    attack(folder, "killed", group, **({"progress": send(signal.SIGKILL, 60 // group.size)} if last else {}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
