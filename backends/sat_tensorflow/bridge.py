"""A network of TensorFlow as a differentiable module of PyTorch, which is what AutoAttack takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from tensorflow import Tensor

from sat_core.errors import NotInstalledError, install
from sat_tensorflow.modes import Forward

if TYPE_CHECKING:
    import torch

_ALIGNMENT = 64
"""Bytes. Memory that TensorFlow's kernels may take as their own begins at a multiple."""


def torch_module(forward: Forward, image_shape: tuple[int, int, int], device: str) -> torch.nn.Module:
    """`forward` on tensors of PyTorch: float32 images `(n, c, h, w)` to float32 logits, on the same device if both
    frameworks see it, else through the CPU. What the way forwards computed is kept for the way back.

    Raises NotInstalledError without PyTorch.
    """
    try:
        import torch
    except ImportError as error:
        raise NotInstalledError(f"as_torch_module needs PyTorch ({error}): {install('autoattack')}") from error

    with tf.device(device):
        logits_of, forwards, backwards = _ways(forward, image_shape)

    class Call(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, images: torch.Tensor) -> torch.Tensor:
            if not ctx.needs_input_grad[0]:
                return _to_torch(logits_of(_to_tensorflow(images, device)), images)
            logits, *ctx.kept = forwards(_to_tensorflow(images.clone(), device))  # the caller may write into images
            return _to_torch(logits, images)

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, cotangent: torch.Tensor) -> torch.Tensor:
            with tf.device(device):
                return _to_torch(backwards(_to_tensorflow(cotangent, device), *ctx.kept), cotangent)

    class Bridge(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.training = False
            self.owner = forward  # graphs do not keep their variables alive

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            with tf.device(device):
                return Call.apply(images.float())

    return Bridge()


def torch_device(device: str) -> str:
    """PyTorch's name for a device of TensorFlow, where PyTorch sees it too; else ``cpu``."""
    import torch

    number = device.partition("GPU:")[2]
    return f"cuda:{number}" if number and torch.cuda.is_available() else "cpu"


def _ways(forward: Forward, image_shape: tuple[int, int, int]) -> tuple[Any, ...]:
    """Three graphs: images `(n, c, h, w)` to logits; to logits and what the way back needs; the way back.

    A tape over a tf.function does the same, and spends more time on the tape than a small network takes.
    """
    h, w, c = image_shape

    def both(images: Tensor, cotangent: Tensor) -> tuple[Tensor, Tensor]:
        logits = tf.cast(forward(tf.transpose(images, (0, 2, 3, 1))), tf.float32)
        (gradient,) = tf.gradients(logits, images, cotangent)
        return logits, tf.zeros((tf.shape(cotangent)[0], c, h, w)) if gradient is None else gradient

    specs = tf.TensorSpec((None, c, h, w), tf.float32), tf.TensorSpec((None, None), tf.float32)
    whole = tf.compat.v1.wrap_function(both, specs)
    images, cotangent = whole.inputs[:2]
    logits, gradient = whole.outputs
    of_images, of_cotangent = _reached(images), _reached(cotangent)
    inputs = [tensor for operation in of_cotangent for tensor in operation.inputs if tensor is not cotangent]
    kept = {t.ref(): t for t in inputs if t.op in of_images and t.op not in of_cotangent}
    if images.ref() in {t.ref() for t in inputs}:
        kept[images.ref()] = images
    needed = list(kept.values())
    if any(tensor.dtype in (tf.variant, tf.resource) for tensor in needed):
        needed = [images]  # what loops leave cannot be kept: the way back goes forwards anew
    ways = ([images], logits), ([images], [logits, *needed]), ([cotangent, *needed], gradient)
    return tuple(_part(whole, given, wanted) for given, wanted in ways)


def _part(whole: Any, given: list[Tensor], wanted: Any) -> Any:
    """The part of a graph between some of its tensors. Pruned functions are slow to call, so there is one around it."""
    part = whole.prune(given, wanted)
    specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in given]
    return tf.function(lambda *tensors: part(*tensors), specs, autograph=False).get_concrete_function()


def _reached(tensor: Tensor) -> dict[Any, None]:
    """The operations that depend on `tensor`, or only wait for it, in an order that does not change from run to run.

    Gradients of tf.square and swish wait for the cotangent, although they compute with values of the way forwards.
    """
    found: dict[Any, None] = {tensor.op: None}
    for operation in tensor.graph.get_operations():
        before = (*(value.op for value in operation.inputs), *operation.control_inputs)
        if any(one in found for one in before):
            found[operation] = None
    del found[tensor.op]
    return found


def _to_tensorflow(tensor: torch.Tensor, device: str) -> Tensor:
    tensor = tensor.detach().contiguous()
    if tensor.is_cuda != ("GPU" in device) or tensor.numel() == 0:
        return tf.constant(tensor.cpu().numpy())
    if tensor.data_ptr() % _ALIGNMENT:
        tensor = tensor.clone()
    _wait(tensor)
    return tf.experimental.dlpack.from_dlpack(tensor.__dlpack__())


def _to_torch(tensor: Tensor, like: torch.Tensor) -> torch.Tensor:
    """A copy, so that nobody writes into memory that TensorFlow takes for constant."""
    import torch.utils.dlpack

    if like.is_cuda != ("GPU" in tensor.device) or tf.size(tensor) == 0:
        return torch.from_numpy(np.array(tensor)).to(like.device)
    copy = torch.utils.dlpack.from_dlpack(tf.experimental.dlpack.to_dlpack(tensor)).clone()
    _wait(copy)
    return copy


def _wait(tensor: torch.Tensor) -> None:
    """On a GPU the two frameworks queue their work apart, and neither waits for the other's."""
    if tensor.is_cuda:
        import torch

        torch.cuda.current_stream(tensor.device).synchronize()
