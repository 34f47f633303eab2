"""Runs units as processes on this machine: one per GPU, or side by side on its cores."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import final

import attrs

from sat_core.errors import SpecError
from sat_core.run_folder import RANKING, RunFolder
from sat_core.training import STOPPED as SAVED
from sat_core.unit_folder import UnitFolder
from sat_datasets.workers import count
from sat_evaluation.run.cards import GPU_MEMORY, gpus, memory_shares, too_few
from sat_evaluation.run.executors.base import Executor, Outcome, Place, Tick, Unit, stop_signals
from sat_evaluation.run.executors.forked import ForkServer, can_fork
from sat_evaluation.run.executors.processes import (
    RANKING_FAILED,
    STOPPED,
    Start,
    Worker,
    not_started,
    record_end,
    start_worker,
)
from sat_evaluation.run.executors.spares import Spares


@final
@attrs.frozen(kw_only=True)
class Local(Executor):
    """Processes on this machine, by default one per GPU if the device is ``cuda``, else as many as it has cores for.

    Args:
        jobs_per_device: Units that share a GPU, with a part of its memory each; `jobs` may limit their number further.
    """

    jobs_per_device: int = 1

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.jobs_per_device < 1:
            raise SpecError(f"--jobs-per-device: expected an integer >= 1, got {self.jobs_per_device}")
        if self.jobs_per_device > 1 and self.devices > 1:
            raise SpecError(
                f"--jobs-per-device: expected 1 for arms that have {self.devices} devices each, got "
                f"{self.jobs_per_device}"
            )

    def check_device(self, device: str) -> None:
        """See `Executor`."""
        super().check_device(device)
        if self.nodes > 1:
            raise SpecError("--nodes: this machine is one; take --executor slurm, or --print-command for torchrun")
        if self.jobs_per_device > 1 and device == "cpu":
            raise SpecError(
                "--jobs-per-device: expected --device cuda; on a CPU, --jobs says how many arms run at a time"
            )
        self.slots(device, 1)

    def run(self, folder: RunFolder, units: Sequence[Unit], device: str, tick: Tick) -> Outcome:
        """See `Executor`. A stop is passed on to the processes, which save and end."""
        outcome, waiting, saved = Outcome(), list(units), False
        # by the threads of the first unit: arms that differ in training.threads use the cores less evenly
        free = self.slots(device, units[0].threads)
        # each unit starts processes that decode images; with a number for each core they would crowd each other out
        decoders = os.environ.get("SAT_WORKERS") or str(max(1, count() // (len(free) * self.devices)))
        running: dict[str, tuple[Worker, dict[str, str]]] = {}
        with ExitStack() as stack:
            stack.enter_context(stop_signals(outcome, SAVED))
            start: Start = partial(start_worker, devices=self.devices)
            # the ranks of several devices are started by torchrun's engine
            if self.devices == 1 and can_fork(units, device):
                start = stack.enter_context(ForkServer(folder, units[0].threads)).start
            elif self.devices == 1 and device != "cpu":
                start = stack.enter_context(Spares(folder, len(units))).start
            # after a stop, units that run are still waited for: they save
            while (waiting and not outcome.stopped) or running:
                for unit in _ready(folder, waiting, outcome, units):
                    if free:
                        waiting.remove(unit)
                        slot = free.pop(0)
                        try:
                            worker = start(folder, unit, self.arguments, {"SAT_WORKERS": decoders, **slot})
                        # a folder that cannot be written takes no other unit down
                        except OSError as error:
                            outcome.failed[unit.name] = not_started(folder.unit(unit.name), error)
                            free.append(slot)
                        else:
                            running[unit.name] = worker, slot
                time.sleep(0.1)
                # again in each round: a worker only sets a flag, and one may have started since the signal
                if outcome.stopped:
                    for worker, _ in running.values():
                        worker.terminate()
                for name, (worker, slot) in list(running.items()):
                    status = worker.poll()
                    if status is None:
                        continue
                    del running[name]
                    free.append(slot)
                    if status in STOPPED:  # if only this worker was told to stop, the others continue
                        saved = True
                        # arms would wait for ever for a ranking that has stopped
                        outcome.stopped = SAVED if name == RANKING else outcome.stopped
                    else:
                        _settle(folder.unit(name), status, outcome)
                tick(outcome, dict.fromkeys(running, Place(running=True)))
        outcome.stopped = SAVED if saved else outcome.stopped
        return outcome

    def slots(self, device: str, threads: int) -> list[dict[str, str]]:
        """Return what is added to the environment of each process: its GPUs, if there are several.

        Raises:
            SpecError: There are fewer GPUs than a unit is to run on, or too little memory is free on one.
        """
        if device == "cpu":
            cores = (os.cpu_count() or 1) // (threads * self.devices)
            return [{}] * (self.jobs or max(1, cores))
        # with cuda:N the user has chosen: CUDA_VISIBLE_DEVICES would give the numbers another meaning
        cards = gpus() if device == "cuda" else []
        if self.devices > max(1, len(cards)):
            raise SpecError(too_few(self.devices, len(cards)))
        groups = [cards[i : i + self.devices] for i in range(0, len(cards) - self.devices + 1, self.devices)]
        slots = [{"CUDA_VISIBLE_DEVICES": ",".join(group)} for group in groups] if len(cards) > 1 else [{}]
        if self.jobs_per_device > 1:
            shares = memory_shares(cards or [device.partition(":")[2] or "0"], self.jobs_per_device)
            slots = [{**slot, GPU_MEMORY: str(share)} for slot, share in zip(slots, shares, strict=True)]
            slots *= self.jobs_per_device
        return [slots[i % len(slots)] for i in range(self.jobs or len(slots))]


def _ready(folder: RunFolder, waiting: list[Unit], outcome: Outcome, units: Sequence[Unit]) -> list[Unit]:
    if outcome.stopped:
        return []
    # a ranking that is not among the units is finished already, or no arm needs it
    ranked = RANKING in outcome.done or RANKING not in [unit.name for unit in units]
    if RANKING in outcome.failed:
        for unit in [u for u in waiting if u.after_ranking]:
            waiting.remove(unit)
            outcome.failed[unit.name] = folder.unit(unit.name).record_failure(RANKING_FAILED)
    return [unit for unit in waiting if ranked or not unit.after_ranking]


def _settle(unit: UnitFolder, status: int, outcome: Outcome) -> None:
    if status == 0:
        outcome.done.append(unit.name)
    else:
        outcome.failed[unit.name] = f"{record_end(unit, status)} (see {unit.log_file})"
