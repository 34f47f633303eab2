"""A network of TensorFlow as a differentiable module of PyTorch, which is what AutoAttack takes.

PyTorch records one operation, an `autograd.Function`, whose forward and backward each run one graph of TensorFlow.
"""

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
"""Bytes. TensorFlow's kernels (Eigen) may assume that the memory of a tensor begins at a multiple of this; PyTorch
aligns what it allocates, but not a view into the middle of it."""


def torch_module(forward: Forward, image_shape: tuple[int, int, int], device: str) -> torch.nn.Module:
    """Make a module of PyTorch that computes `forward`.

    Args:
        forward: images `(n, h, w, c)` to logits, in evaluation mode.
        image_shape: `(h, w, c)`.
        device: where TensorFlow computes. Tensors are handed over in place if PyTorch sees that device, too, and
            through the CPU if not.

    Returns:
        A module from float32 images `(n, c, h, w)` to float32 logits `(n, k)`. What the forward pass computes is kept
        for the backward pass.

    Raises:
        NotInstalledError: without PyTorch.
    """
    try:
        import torch
    except ImportError as error:
        raise NotInstalledError(f"as_torch_module needs PyTorch ({error}): {install('autoattack')}") from error

    with tf.device(device):
        logits_of, forward_pass, backward_pass = _passes(forward, image_shape)

    class Call(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, images: torch.Tensor) -> torch.Tensor:
            # Square and checks of predictions need no gradients, and residuals would only take memory
            if not ctx.needs_input_grad[0]:
                return _to_torch(logits_of(_to_tensorflow(images, device)), images)
            # TensorFlow shares the memory and keeps it for the backward pass, until when the caller may write into
            # `images`; hence the clone
            logits, *ctx.residuals = forward_pass(_to_tensorflow(images.clone(), device))
            return _to_torch(logits, images)

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, cotangent: torch.Tensor) -> torch.Tensor:
            # autograd may call this in a thread of its own, where the `tf.device` of the forward does not hold
            with tf.device(device):
                return _to_torch(backward_pass(_to_tensorflow(cotangent, device), *ctx.residuals), cotangent)

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
    """Return PyTorch's name for a device of TensorFlow if PyTorch sees it, too, else ``cpu``."""
    import torch

    number = device.partition("GPU:")[2]
    return f"cuda:{number}" if number and torch.cuda.is_available() else "cpu"


def _passes(forward: Forward, image_shape: tuple[int, int, int]) -> tuple[Any, ...]:
    """Three graphs: images `(n, c, h, w)` to logits; to logits and residuals; cotangent and residuals to gradient.

    They are parts of one graph that has both passes: residuals are the tensors that the backward part takes from the
    forward part. A `tf.GradientTape` over a `tf.function` does the same, but recording it takes longer than a small
    network does.
    """
    h, w, c = image_shape

    def both(images: Tensor, cotangent: Tensor) -> tuple[Tensor, Tensor]:
        logits = tf.cast(forward(tf.transpose(images, (0, 2, 3, 1))), tf.float32)
        (gradient,) = tf.gradients(logits, images, cotangent)
        return logits, tf.zeros((tf.shape(cotangent)[0], c, h, w)) if gradient is None else gradient

    specs = tf.TensorSpec((None, c, h, w), tf.float32), tf.TensorSpec((None, None), tf.float32)
    whole = tf.compat.v1.wrap_function(both, specs)  # the only kind of function that can be pruned
    images, cotangent = whole.inputs[:2]
    logits, gradient = whole.outputs
    of_images, of_cotangent = _dependents(images), _dependents(cotangent)
    inputs = [tensor for operation in of_cotangent for tensor in operation.inputs if tensor is not cotangent]
    # what depends on neither, such as reads of weights, each part computes itself
    residuals = {t.ref(): t for t in inputs if t.op in of_images and t.op not in of_cotangent}
    if images.ref() in {t.ref() for t in inputs}:
        residuals[images.ref()] = images
    saved = list(residuals.values())
    if any(tensor.dtype in (tf.variant, tf.resource) for tensor in saved):
        # lists and stacks of a while loop cannot leave a graph, so the backward part has to run the forward again
        saved = [images]
    parts = ([images], logits), ([images], [logits, *saved]), ([cotangent, *saved], gradient)
    return tuple(_part(whole, inputs, outputs) for inputs, outputs in parts)


def _part(whole: Any, inputs: list[Tensor], outputs: Any) -> Any:
    """The part of a graph between some of its tensors."""
    part = whole.prune(inputs, outputs)
    specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in inputs]
    # pruned functions are slow to call, a concrete function around one is not
    return tf.function(lambda *tensors: part(*tensors), specs, autograph=False).get_concrete_function()


def _dependents(tensor: Tensor) -> dict[Any, None]:
    """The operations that depend on `tensor` by data or by control, in an order that is the same in every run.

    Control dependencies count, because the gradients of tf.square and swish compute with values of the forward pass
    behind a control dependency on the cotangent: such an operation belongs to the backward part.
    """
    dependents: dict[Any, None] = {tensor.op: None}  # a dict keeps the order; a set of objects is ordered by address
    for operation in tensor.graph.get_operations():
        before = (*(value.op for value in operation.inputs), *operation.control_inputs)
        if any(one in dependents for one in before):
            dependents[operation] = None
    del dependents[tensor.op]
    return dependents


def _to_tensorflow(tensor: torch.Tensor, device: str) -> Tensor:
    tensor = tensor.detach().contiguous()
    if tensor.is_cuda != ("GPU" in device) or tensor.numel() == 0:  # which has no memory to share
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
    """On a GPU each framework has a stream of its own, and neither waits for the other's."""
    if tensor.is_cuda:
        import torch

        torch.cuda.current_stream(tensor.device).synchronize()
