"""The ranks that torchrun, or Slurm by submitit, has started: how a process finds the others and talks to them."""

from __future__ import annotations

import atexit
import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeVar, final

from sat_core.process_group import ALONE, ProcessGroup

T = TypeVar("T")
_PATIENCE = timedelta(days=30)
"""How long a rank waits for the others: rank 0 may check or attack for hours. One that has ended is noticed at once, as
its connections close."""


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
        dist.all_reduce(tensor, dist.ReduceOp.MAX, self._group)
        return tensor.tolist()

    def broadcast(self, value: Any = None) -> Any:
        import torch
        import torch.distributed as dist

        values = [value]
        dist.broadcast_object_list(values, 0, self._group, torch.device("cpu"))
        return values[0]

    def gather(self, value: T) -> list[T]:
        import torch.distributed as dist

        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, self._group)
        return values


def is_rank() -> bool:
    """Return whether this process was started as one of several ranks."""
    return int(os.environ.get("WORLD_SIZE") or 1) > 1


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
    dist.init_process_group("cpu:gloo,cuda:nccl" if both else "gloo", timeout=_PATIENCE)
    # Threads of gloo that still run when the interpreter goes would abort the process.
    atexit.register(dist.destroy_process_group)
    # A group of its own on the host: objects would else travel through the GPU, where NCCL is the first choice.
    return Ranks(dist.new_group(backend="gloo", timeout=_PATIENCE))
