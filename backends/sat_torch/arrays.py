"""PyTorch's tensors as numpy arrays."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def to_numpy(tensor: Tensor) -> np.ndarray:
    """Return a tensor's values on the CPU; bfloat16, which numpy does not have, as float32."""
    tensor = tensor.detach().cpu()
    # on the CPU the array shares the tensor's memory: who keeps it while the training goes on has to copy it
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def to_numpy_images(tensor: Tensor) -> np.ndarray:
    """Return `(n, c, h, w)` as contiguous float32 `(n, h, w, c)`."""
    return np.ascontiguousarray(to_numpy(tensor.float()).transpose(0, 2, 3, 1))


def like(tensor: Tensor) -> np.ndarray:
    """Return an empty array of the shape and kind of number of `tensor`; numpy has no bfloat16."""
    floating = tensor.is_floating_point()
    kind = np.dtype(np.float32) if floating else torch.empty(0, dtype=tensor.dtype).numpy().dtype
    return np.empty(tensor.shape, kind)
