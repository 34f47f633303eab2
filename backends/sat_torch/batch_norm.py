"""BatchNorm over the batches of all ranks, so that several devices train as one would.

PyTorch has it for GPUs only, as a module (`torch.nn.SyncBatchNorm`). Here the modules stay as they are, whoever wrote
them, and their call of `torch.nn.functional.batch_norm` computes with the statistics of all ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional
from torch.nn.modules._functions import SyncBatchNorm
from torch.overrides import TorchFunctionMode

_HALF = (torch.bfloat16, torch.float16)


@final
class GlobalBatchNorm(TorchFunctionMode):
    """Inside, BatchNorm in training mode takes the statistics of the batches of all ranks, which all have to call it.

    In evaluation mode it is as always, and ranks do not talk. All ranks are those of the default process group of
    `torch.distributed`. Gradients of weights are those of the own batch, which DistributedDataParallel averages.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is functional.batch_norm:
            func = _batch_norm
        return func(*args, **(kwargs or {}))


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Do as `torch.nn.functional.batch_norm`, whose arguments these are, with the batches of all ranks."""
    if not training:
        return functional.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    arguments = (input, weight, bias, running_mean, running_var, eps, momentum)
    if input.device.type == "cuda":
        normalised: Tensor = SyncBatchNorm.apply(*arguments, dist.group.WORLD, dist.get_world_size())
    else:
        normalised = _OnCpu.apply(*arguments)
    return normalised


@final
class _OnCpu(torch.autograd.Function):
    """One exchange of means and variances forward, and one of two sums backward, as in `SyncBatchNorm`.

    Sums over a rank's own batch are those of PyTorch's kernels of BatchNorm, which are 30 times as fast as
    `torch.var_mean` where channels are last.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        eps: float,
        momentum: float,
    ) -> Tensor:
        wide = _wide(x)
        mean, variance, count = _statistics(wide)
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean.to(running_mean), momentum)
            # the variance of a sample, as PyTorch keeps it
            running_var.lerp_((variance * (count / (count - 1))).to(running_var), momentum)
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.eps, ctx.count = eps, count
        return functional.batch_norm(wide, mean, variance, _wide(weight), _wide(bias), False, 0.0, eps).to(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance = ctx.saved_tensors
        wide, gradient, weight = _wide(x), _wide(gradient), _wide(weight)
        scale = (variance + ctx.eps).rsqrt()
        # Σ g·x̂ and Σ g of this rank: with those of DistributedDataParallel's other ranks, the gradients of γ and β
        _, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, wide, weight, None, None, mean, scale, True, ctx.eps, [False, True, True]
        )
        of_x = None
        if ctx.needs_input_grad[0]:
            sums = torch.stack([of_weight, of_bias])
            dist.all_reduce(sums)
            # γ/σ · (g - Σ g/N - x̂ · Σ g·x̂/N), whose last two terms BatchNorm in evaluation mode computes
            scale = scale if weight is None else scale * weight
            of_mixed, of_mean = sums * (-scale / ctx.count)
            of_x = functional.batch_norm(wide, mean, variance, of_mixed, of_mean, False, 0.0, ctx.eps)
            of_x = of_x.addcmul_(gradient, scale.reshape(-1, *[1] * (x.ndim - 2))).to(x)
        needed = ctx.needs_input_grad
        return of_x, of_weight if needed[1] else None, of_bias if needed[2] else None, None, None, None, None


def _wide(tensor: Tensor | None) -> Any:
    """Return a tensor in the type that statistics are computed in: float32, or float64 if it is that."""
    return tensor.float() if tensor is not None and tensor.dtype in _HALF else tensor


def _statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and variance `(c,)` of the batches of all ranks, and the number of values of a channel."""
    channels = x.shape[1]
    own = torch.cat([*torch.batch_norm_update_stats(x, None, None, 0.0), x.new_tensor([x.numel() // channels])])
    ranks = own.new_empty(dist.get_world_size(), len(own))
    dist.all_gather([*ranks], own)
    means, variances, counts = ranks[:, :channels], ranks[:, channels:-1], ranks[:, -1:]
    # Chan, Golub & LeVeque 1983: no difference of large numbers, as E[x²] - E[x]² would be
    count = counts.sum()
    mean = (counts * means).sum(0) / count
    return mean, (counts * (variances + (means - mean).square())).sum(0) / count, count
