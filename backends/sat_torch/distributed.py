"""A network that several ranks train together, each on its share of every batch."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import final

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sat_core.errors import SpecError
from sat_core.process_group import ProcessGroup
from sat_torch.batch_norm import GlobalBatchNorm
from sat_torch.modes import compiled


def check_group(group: ProcessGroup) -> None:
    """Raise SpecError unless PyTorch's default process group has the same ranks as `group`."""
    found = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    if found != (group.rank, group.size):
        raise SpecError(
            f"group: expected rank {group.rank} of {group.size} in torch.distributed's default process group, "
            f"got rank {found[0]} of {found[1]}\ncall torch.distributed.init_process_group first"
        )


def parallel(module: nn.Module, *, ours: bool) -> nn.parallel.DistributedDataParallel:
    """Return `module` as all ranks train it together: `backward` leaves the mean of the ranks' gradients.

    Parameters and buffers become those of rank 0. All ranks have to call this, and then go forward and backward equally
    often.

    Args:
        module: On this rank.
        ours: Whether it is one of our networks, which use all of their parameters in every forward.
    """
    # Gradients lie where they are summed up, and need not be copied back.
    if ours:
        return nn.parallel.DistributedDataParallel(module, gradient_as_bucket_view=True)
    return nn.parallel.DistributedDataParallel(
        _WithUnused(module), gradient_as_bucket_view=True, find_unused_parameters=True
    )


def take_buffers(module: nn.Module) -> None:
    """Give all ranks the buffers that rank 0 has, so that all attack the same network.

    DistributedDataParallel does so only in the next forward, which is after the next attack.
    """
    for buffer in module.buffers():
        dense = buffer.contiguous()  # the same tensor, but for one with channels last
        dist.broadcast(dense, 0)
        if dense is not buffer:
            buffer.copy_(dense)


def norms(module: nn.Module, batch_norm: str) -> AbstractContextManager[object]:
    """Return a context, to enter again and again, in which `module` has BatchNorm as ``training.batch_norm`` says.

    Raises:
        SpecError: Layers of BatchNorm cannot be found, as they are compiled.
    """
    if batch_norm == "local":
        return nullcontext()
    layers = [*module.modules()]
    hidden = compiled(module) or any(isinstance(layer, torch.jit.ScriptModule) for layer in layers)
    if hidden and any("BatchNorm" in getattr(layer, "original_name", type(layer).__name__) for layer in layers):
        raise SpecError(
            'training.batch_norm: expected "local", as the network is compiled and has BatchNorm, got "global"\n'
            "take the network as it is before torch.compile or torch.jit"
        )
    return GlobalBatchNorm()


@final
class _WithUnused(nn.Module):
    """A user's network, with a parameter that nothing uses.

    A user's network may not use all of its own in every forward, of which DistributedDataParallel has to be told. And
    where it then finds none that is unused, it prints a warning from C++, on every rank.
    """

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.unused = nn.Parameter(torch.zeros(1, device=next(inner.parameters()).device))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.inner(images)
        return logits
