"""A network of TensorFlow as a differentiable module of PyTorch, which is what AutoAttack takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from tensorflow import Tensor

from sat_core.errors import NotInstalledError

if TYPE_CHECKING:
    import torch

_ALIGNMENT = 64
"""Bytes. Memory that TensorFlow's kernels may take as their own begins at a multiple."""


def torch_module(forward: Callable[[Tensor], Tensor], device: str) -> torch.nn.Module:
    """`forward` on tensors of PyTorch: float32 images `(n, c, h, w)` to float32 logits, on the same device if both
    frameworks see it, else through the CPU. What the pass forwards computed is kept for the one backwards.

    Raises NotInstalledError without PyTorch.
    """
    try:
        import torch
    except ImportError as error:
        raise NotInstalledError(
            f"as_torch_module needs PyTorch ({error}): pip install 'sat-core[autoattack]'"
        ) from error

    class Call(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, images: torch.Tensor) -> torch.Tensor:
            x = _to_tensorflow(images, device)
            if not ctx.needs_input_grad[0]:
                return _to_torch(forward(x), images)
            with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
                tape.watch(x)
                logits = forward(x)
            ctx.tape, ctx.images, ctx.logits = tape, x, logits
            return _to_torch(logits, images)

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, cotangent: torch.Tensor) -> torch.Tensor:
            given = _to_tensorflow(cotangent, device)
            return _to_torch(ctx.tape.gradient(ctx.logits, ctx.images, output_gradients=given), cotangent)

    class Bridge(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            number = device.partition("GPU:")[2]
            place = f"cuda:{number}" if number and torch.cuda.is_available() else "cpu"
            self.register_buffer("place", torch.empty(0, device=place), persistent=False)
            self.training = False

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            with tf.device(device):
                return Call.apply(images)

    return Bridge()


def _to_tensorflow(tensor: torch.Tensor, device: str) -> Tensor:
    tensor = tensor.detach().contiguous()
    if tensor.is_cuda != ("GPU" in device) or tensor.numel() == 0:
        return tf.constant(tensor.cpu().numpy())
    if tensor.data_ptr() % _ALIGNMENT:
        tensor = tensor.clone()
    return tf.experimental.dlpack.from_dlpack(tensor.__dlpack__())


def _to_torch(tensor: Tensor, like: torch.Tensor) -> torch.Tensor:
    """A copy, so that nobody writes into memory that TensorFlow takes for constant."""
    import torch.utils.dlpack

    if like.is_cuda != ("GPU" in tensor.device) or tf.size(tensor) == 0:
        return torch.from_numpy(np.array(tensor)).to(like.device)
    return torch.utils.dlpack.from_dlpack(tf.experimental.dlpack.to_dlpack(tensor)).clone()
