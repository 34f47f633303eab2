"""Forward pass of the small CNN in numpy: the oracle for convolutions, padding and BatchNorm."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

BATCHNORM_EPSILON = 1e-5
BATCHNORM_MOMENTUM = 0.1
"""Share of the batch's statistics in the new running ones; the running variance takes the unbiased one."""
STRIDES = (1, 2, 2)
WIDTHS = (32, 64, 128)


def small_cnn(
    state: Mapping[str, np.ndarray],
    images: np.ndarray,
    mean: tuple[float, ...] = (),
    std: tuple[float, ...] = (),
    *,
    training: bool = False,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Logits `(n, k)` in float64 and the running statistics after the pass (unchanged in evaluation mode).

    Three times convolution 3x3, padding 1, without bias; BatchNorm; ReLU. Then the mean over pixels and a linear layer.
    """
    x = images.astype(np.float64)
    if mean:
        x = (x - np.array(mean)) / np.array(std)
    x = x.transpose(0, 3, 1, 2)
    running = {}
    for i, stride in enumerate(STRIDES, 1):
        x = _convolve(x, state[f"conv{i}.weight"].astype(np.float64), stride)
        names = f"bn{i}.running_mean", f"bn{i}.running_var"
        centre, spread = (state[name].astype(np.float64) for name in names)
        if training:
            count = x.size / x.shape[1]
            here, var = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
            m = BATCHNORM_MOMENTUM
            running[names[0]] = (1 - m) * centre + m * here
            running[names[1]] = (1 - m) * spread + m * var * count / (count - 1)
            centre, spread = here, var
        else:
            running |= dict(zip(names, (centre, spread), strict=True))
        scale = state[f"bn{i}.weight"] / np.sqrt(spread + BATCHNORM_EPSILON)
        shift = state[f"bn{i}.bias"] - centre * scale
        x = np.maximum(x * scale[:, None, None] + shift[:, None, None], 0)
    return x.mean(axis=(2, 3)) @ state["fc.weight"].astype(np.float64).T + state["fc.bias"], running


def _convolve(x: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::stride, ::stride]
    return np.einsum("nchwij,ocij->nohw", windows, kernel, optimize=True)
