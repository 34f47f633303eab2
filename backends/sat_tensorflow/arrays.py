"""TensorFlow's tensors as numpy arrays, and Keras's weights in the canonical names and layout, which are PyTorch's."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from tensorflow import Tensor

LEAVES = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
"""Names of Keras and of PyTorch."""


def to_numpy(tensor: Tensor) -> np.ndarray:
    """Return a copy of a tensor's values, in float32 if they are numbers with a fraction."""
    return np.array(tf.cast(tensor, tf.float32) if tensor.dtype.is_floating else tensor)


def like(variable: keras.Variable) -> np.ndarray:
    """Return an empty array of the canonical shape and kind of number of `variable`; numpy has no bfloat16."""
    kind = tf.as_dtype(variable.dtype)
    dtype = np.dtype(np.float32 if kind.is_floating else kind.as_numpy_dtype)
    return to_canonical(variable.name, np.empty(variable.shape, dtype))


def canonical_leaf(name: str) -> str:
    """Return the canonical name of a variable that Keras calls `name`."""
    return LEAVES.get(name, name)


def to_canonical(name: str, value: np.ndarray) -> np.ndarray:
    """Return the value of a variable that Keras calls `name`: kernels `(…, in, out)` as `(out, in, …)`."""
    return np.ascontiguousarray(np.moveaxis(value, (-1, -2), (0, 1))) if _is_kernel(name, value) else np.array(value)


def from_canonical(name: str, value: np.ndarray) -> np.ndarray:
    """Undo `to_canonical`."""
    return np.ascontiguousarray(np.moveaxis(value, (0, 1), (-1, -2))) if _is_kernel(name, value) else value


def _is_kernel(name: str, value: np.ndarray) -> bool:
    return name == "kernel" and value.ndim > 1
