"""The ranks that torchrun, or Slurm by submitit, has started: how a process finds the others and talks to them."""

from __future__ import annotations

import atexit
import gc
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar, final

from sat_core.errors import SatError, SpecError
from sat_core.process_group import ALONE, ProcessGroup

T = TypeVar("T")
_PATIENCE = timedelta(days=30)
"""How long a rank waits for the others: rank 0 may check or attack for hours. One that has ended is noticed at once, as
its connections close."""
SLURM_RANK = "SAT_SLURM_RANK"
"""Environment variable that tasks of a Slurm job set for their ranks."""
_ECHO = 1.0
"""Seconds that a rank waits before it ends with an error, which may be that another one has ended: whoever started the
ranks has then seen that one end first. It looks ten times a second."""


@final
class PeerLost(SatError):
    """Another rank has ended: the reason is there."""


@final
class Ranks(ProcessGroup):
    """Processes that talk through PyTorch's gloo, whatever the framework of their backend.

    Args:
        group: PyTorch's process group of all ranks, with gloo for tensors on the CPU.
    """

    def __init__(self, group: Any) -> None:
        self._group = group
        self.rank, self.size = group.rank(), group.size()

    def greatest(self, numbers: Sequence[int]) -> list[int]:
        import torch
        import torch.distributed as dist

        tensor = torch.tensor(numbers, dtype=torch.int64)
        with _peers():
            dist.all_reduce(tensor, dist.ReduceOp.MAX, self._group)
        return tensor.tolist()

    def broadcast(self, value: Any = None) -> Any:
        import torch
        import torch.distributed as dist

        values = [value]
        with _peers():
            dist.broadcast_object_list(values, 0, self._group, torch.device("cpu"))
        return values[0]

    def gather(self, value: T) -> list[T]:
        import torch.distributed as dist

        values: list[Any] = [None] * self.size
        with _peers():
            dist.all_gather_object(values, value, self._group)
        return values


def is_rank() -> bool:
    """Return whether this process was started as one of several ranks, by torchrun or as a task of a Slurm job."""
    # Not by the number alone, which clusters set in containers and scripts that start no ranks.
    started = "TORCHELASTIC_RUN_ID" in os.environ or SLURM_RANK in os.environ
    return started and int(os.environ.get("WORLD_SIZE") or 1) > 1


def refuse_rank() -> None:
    """Raise SpecError if this process is a rank, for commands that each rank would run whole."""
    if is_rank():
        raise SpecError(
            "torchrun: expected a command that shares its work, got one that each process would do whole\n"
            "start it without torchrun; sat run starts processes by --devices N, or see --print-command"
        )


def join_group(backend: str, device: str) -> ProcessGroup:
    """Join the other ranks, as torchrun's environment variables name them; alone, if there are none.

    Args:
        backend: Name of the backend that computes. PyTorch's gets NCCL beside gloo where the device is a GPU; others
            bring messages of their own for gradients.
        device: What it computes on.
    """
    if not is_rank():
        return ALONE
    import torch.distributed as dist

    both = backend == "torch" and device != "cpu"
    with _peers():
        dist.init_process_group("cpu:gloo,cuda:nccl" if both else "gloo", timeout=_PATIENCE)
        atexit.register(_leave)
        # A group of its own on the host: objects would else travel through the GPU, where NCCL is the first choice.
        return Ranks(dist.new_group(backend="gloo", timeout=_PATIENCE))


def _leave() -> None:
    """End the threads of gloo. Those that still run when the interpreter goes abort the process, two times in five."""
    import torch.distributed as dist

    # a network with DistributedDataParallel keeps the group, and cycles of references keep the network
    gc.collect()
    dist.destroy_process_group()


@contextmanager
def _peers() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # what gloo raises when a connection is closed, and torch.distributed's own errors
        raise PeerLost(f"{rank_name()}: another rank has ended") from error


def rank_name() -> str:
    """Return which of the ranks this process is, in words."""
    return f"rank {os.environ.get('RANK', 0)} of {os.environ.get('WORLD_SIZE', 1)}"


def explain_end(reason: str, *, echo: bool) -> None:
    """Tell whoever has started the ranks why this one ends, as torchelastic and torchrun read it.

    Args:
        reason: In a line.
        echo: Whether the reason may be that another rank has ended; this one then waits until that has been seen.
    """
    if path := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        with suppress(OSError), open(path, "w", encoding="utf-8") as file:  # the log has it, too
            json.dump({"message": reason, "timestamp": int(time.time())}, file)
    if echo:
        time.sleep(_ECHO)
