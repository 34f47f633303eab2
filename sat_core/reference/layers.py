"""Layers of networks in numpy with analytic gradients, and how they are put together.

Images are `(n, c, h, w)` inside networks; all arithmetic is float64, whatever type the weights have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import final

import attrs
import numpy as np

BATCHNORM_EPSILON = 1e-5
BATCHNORM_MOMENTUM = 0.1
"""Share of the batch's statistics in the new running ones, as PyTorch counts it; Keras's momentum is 1 minus this. The
running variance gets the batch's unbiased one."""


@final
@attrs.frozen(eq=False)
class Pass:
    """One forward pass, and the backward pass after it.

    Args:
        state: the weights by name.
        training: BatchNorm uses the batch's statistics, and `running` gets the new running ones.
        running: BatchNorm's statistics after a forward pass in training mode.
        gradients: over the weights, after the backward pass.
    """

    state: Mapping[str, np.ndarray]
    training: bool = False
    running: dict[str, np.ndarray] = attrs.Factory(dict)
    gradients: dict[str, np.ndarray] = attrs.Factory(dict)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.state[name].astype(np.float64)


Back = Callable[[np.ndarray], np.ndarray]
"""The backward pass of a layer: from the gradient over its output to that over its input."""
Layer = Callable[[Pass, np.ndarray], tuple[np.ndarray, Back]]
"""(pass, input) to the output and the backward pass."""


def chain(*layers: Layer) -> Layer:
    """Make a layer of several, one after the other; of none at all, the identity."""

    def forward(p: Pass, x: np.ndarray) -> tuple[np.ndarray, Back]:
        backs: list[Back] = []
        for layer in layers:
            x, back = layer(p, x)
            backs.insert(0, back)

        def backward(g: np.ndarray) -> np.ndarray:
            for back in backs:
                g = back(g)
            return g

        return x, backward

    return forward


def add(one: Layer, other: Layer) -> Layer:
    """Make a layer that adds the outputs of two for the same input: a residual block."""

    def forward(p: Pass, x: np.ndarray) -> tuple[np.ndarray, Back]:
        (y, back), (z, other_back) = one(p, x), other(p, x)
        return y + z, lambda g: back(g) + other_back(g)

    return forward


def convolution(name: str, stride: int = 1) -> Layer:
    """Make a convolution without bias; kernel `(out, in, k, k)` with k odd, k // 2 zeros on every side."""

    def forward(p: Pass, x: np.ndarray) -> tuple[np.ndarray, Back]:
        kernel = p[f"{name}.weight"]
        windows = _windows(x, kernel.shape[-1], stride)

        def back(g: np.ndarray) -> np.ndarray:
            p.gradients[f"{name}.weight"] = np.einsum("nohw,nchwij->ocij", g, windows, optimize=True)
            return _add_windows(np.einsum("nohw,ocij->nchwij", g, kernel, optimize=True), x.shape, stride)

        return np.einsum("nchwij,ocij->nohw", windows, kernel, optimize=True), back

    return forward


def norm(name: str) -> Layer:
    """Make a BatchNorm with PyTorch's rule for the running statistics."""

    def forward(p: Pass, x: np.ndarray) -> tuple[np.ndarray, Back]:
        names = f"{name}.running_mean", f"{name}.running_var"
        mean, var = (p[n] for n in names)
        if p.training:
            # The batch is normalised by its biased variance; the running one gets the unbiased one, as in PyTorch.
            before, count, share = (mean, var), x.size / x.shape[1], BATCHNORM_MOMENTUM
            mean, var = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
            for n, old, new in zip(names, before, (mean, var * count / (count - 1)), strict=True):
                p.running[n] = (1 - share) * old + share * new
        mean, inverse, scale, shift = (
            v[:, None, None]
            for v in (mean, 1 / np.sqrt(var + BATCHNORM_EPSILON), p[f"{name}.weight"], p[f"{name}.bias"])
        )
        normal = (x - mean) * inverse

        def back(g: np.ndarray) -> np.ndarray:
            p.gradients[f"{name}.weight"] = (g * normal).sum(axis=(0, 2, 3))
            p.gradients[f"{name}.bias"] = g.sum(axis=(0, 2, 3))
            if p.training:
                # The batch's mean and variance depend on x, too (Ioffe & Szegedy 2015); running ones are constants.
                g = g - _channel_mean(g) - normal * _channel_mean(g * normal)
            return g * scale * inverse

        return normal * scale + shift, back

    return forward


def relu(p: Pass, x: np.ndarray) -> tuple[np.ndarray, Back]:
    """Compute max(x, 0)."""
    # At 0 the gradient is 0, as in PyTorch and TensorFlow.
    return np.maximum(x, 0), lambda g: g * (x > 0)


def max_pool(p: Pass, x: np.ndarray) -> tuple[np.ndarray, Back]:
    """Take maxima of 3x3 with stride 2 and padding 1.

    Only for use behind a ReLU: where a maximum is not unique, each of its places gets the whole gradient. That is right
    for several zeros, the usual case, as the ReLU stops the gradient there.
    """
    windows = _windows(x, 3, 2, -np.inf)
    y = windows.max(axis=(4, 5))
    return y, lambda g: _add_windows(g[..., None, None] * (windows == y[..., None, None]), x.shape, 2)


def pixel_mean(p: Pass, x: np.ndarray) -> tuple[np.ndarray, Back]:
    """Take the mean over pixels: `(n, c, h, w)` to `(n, c)`."""
    return x.mean(axis=(2, 3)), lambda g: np.broadcast_to(g[:, :, None, None], x.shape) / (x.shape[2] * x.shape[3])


def flatten(p: Pass, x: np.ndarray) -> tuple[np.ndarray, Back]:
    """Reshape `(n, c, h, w)` to `(n, c·h·w)`."""
    return x.reshape(len(x), int(np.prod(x.shape[1:]))), lambda g: g.reshape(x.shape)


def linear(name: str) -> Layer:
    """Make a linear layer, x·Wᵀ + b."""

    def forward(p: Pass, x: np.ndarray) -> tuple[np.ndarray, Back]:
        weight = p[f"{name}.weight"]

        def back(g: np.ndarray) -> np.ndarray:
            p.gradients[f"{name}.weight"], p.gradients[f"{name}.bias"] = g.T @ x, g.sum(axis=0)
            return g @ weight

        return x @ weight.T + p[f"{name}.bias"], back

    return forward


def _channel_mean(x: np.ndarray) -> np.ndarray:
    return x.mean(axis=(0, 2, 3), keepdims=True)


def _windows(x: np.ndarray, size: int, stride: int, fill: float = 0.0) -> np.ndarray:
    """`(n, c, h', w', size, size)`, a view of `x` with size // 2 pixels of `fill` on every side."""
    side = (size // 2, size // 2)
    padded = np.pad(x, ((0, 0), (0, 0), side, side), constant_values=fill)
    return np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(2, 3))[:, :, ::stride, ::stride]


def _add_windows(windows: np.ndarray, shape: tuple[int, ...], stride: int) -> np.ndarray:
    """Add windows up where they overlap: the backward pass of `_windows`, whose input has `shape`."""
    n, c, h, w = shape
    rows, columns, size = windows.shape[2:5]
    padded = np.zeros((n, c, h + size - 1, w + size - 1))
    # One offset at a time: windows overlap, and one assignment to all of them would keep only the last.
    for i, j in np.ndindex(size, size):
        padded[:, :, i : i + stride * rows : stride, j : j + stride * columns : stride] += windows[..., i, j]
    side = size // 2
    return padded[:, :, side : side + h, side : side + w]
