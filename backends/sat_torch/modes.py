"""Running a module without changing it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Forward = Callable[[Tensor], Tensor]
"""Images `(n, c, h, w)` in [0, 1] to logits, in any precision."""


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Inside, evaluation mode and no gradients for weights; later each layer's mode and each weight's flag as before.

    BatchNorm uses its running statistics, and autograd keeps nothing that only weight gradients would need.
    """
    training = [m for m in module.modules() if m.training]
    learning = [p for p in module.parameters() if p.requires_grad and not nn.parameter.is_lazy(p)]
    try:
        for layer in training:  # and not module.eval(), as a user may have put single layers into evaluation mode
            layer.training = False
        for parameter in learning:
            parameter.requires_grad_(False)
        yield
    finally:
        for layer in training:
            layer.training = True
        for parameter in learning:
            parameter.requires_grad_(True)


def precision(forward: Forward, device: str, half: torch.dtype | None) -> Forward:
    """Return `forward` under autocast to `half`, with the weights as they are; unchanged if that is None."""
    if half is None:
        return forward

    def within(images: Tensor) -> Tensor:
        with torch.autocast(device, half):
            return forward(images)

    return within


@contextmanager
def casts_once(module: nn.Module) -> Iterator[None]:
    """Inside, forwards of `precision` share the weights that autocast has rounded, instead of each rounding its own.

    PyTorch keeps a rounded weight until the outermost autocast ends, if that weight wants gradients. So all of them do
    in here, and there is an outer autocast, which is off: attacks themselves stay in float32. Nobody computes the
    gradients of the weights, as attacks ask for those of images only; compiled layers would, and are left alone.
    """
    left = compiled(module)
    weights = [p for p in module.parameters() if not (p.requires_grad or left) and p.is_floating_point()]
    device = next((p.device.type for p in module.parameters()), "cpu")
    try:
        for weight in weights:
            weight.requires_grad_(True)
        torch.clear_autocast_cache()  # where the whole script runs under autocast it has the weights of an earlier step
        with torch.autocast(device, enabled=False):
            yield
    finally:
        torch.clear_autocast_cache()
        for weight in weights:
            weight.requires_grad_(False)


def compiled(module: nn.Module) -> bool:
    """Tell whether `torch.compile` has taken a layer."""
    return any(hasattr(m, "_orig_mod") or getattr(m, "_compiled_call_impl", None) for m in module.modules())


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Inside, allow or forbid CUDA to round products of float32 to TF32, and forbid all else; later as before.

    By default cuDNN rounds, and a user's `torch.set_float32_matmul_precision` may allow bfloat16 on a CPU. PyTorch
    keeps each setting of CUDA in an old and in a new form, and raises errors where the two disagree; so both are set.
    """
    cudnn: Any = torch.backends.cudnn
    matmul: Any = torch.backends.cuda.matmul
    cpu: Any = torch.backends.mkldnn
    old, new = (cudnn, matmul), (cudnn.conv, cudnn.rnn, matmul, cpu.matmul, cpu.conv)
    before = [place.fp32_precision for place in new]

    def put(names: list[str]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the old form is deprecated
            for place, name in zip(old, names[1:3], strict=True):
                place.allow_tf32 = name == "tf32"
        for place, name in zip(new, names, strict=True):
            place.fp32_precision = name

    put([*["tf32" if allowed else "ieee"] * 3, "ieee", "ieee"])
    try:
        yield
    finally:
        put(before)


@contextmanager
def plain() -> Iterator[None]:
    """Inside, new tensors are float32 on the CPU, whatever the defaults of the process are."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(before)


def run(module: nn.Module, images: Tensor) -> Tensor:
    """Call `module` on images in the type of its weights."""
    weights = next((p.dtype for p in module.parameters() if p.is_floating_point()), images.dtype)
    return module(images.to(weights))
