"""SGD and AdamW as PyTorch writes them, in numpy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sat_core.classifier import State
from sat_core.training_spec import TrainingSpec


def clipped(gradients: Mapping[str, np.ndarray], limit: float) -> State:
    """Return gradients whose norm over all weights is at most `limit`; 0 for no limit."""
    size = np.sqrt(sum(float(np.sum(gradient**2)) for gradient in gradients.values()))
    scale = min(1.0, limit / size) if limit and size else 1.0
    return {name: gradient * scale for name, gradient in gradients.items()}


def sgd(weight: np.ndarray, gradient: np.ndarray, buffers: State, lr: float, t: TrainingSpec) -> None:
    """Make a step of SGD in place: v ← μ·v + g + λ·w; w ← w - lr·v, or with Nesterov w - lr·(g + λ·w + μ·v)."""
    gradient = gradient + t.weight_decay * weight
    # The first v is the gradient, undamped, as in PyTorch; TensorFlow's own SGD puts the rate inside of v.
    v = buffers["momentum_buffer"] = t.momentum * buffers.get("momentum_buffer", np.zeros(())) + gradient
    weight -= lr * (gradient + t.momentum * v if t.nesterov else v)


def adamw(weight: np.ndarray, gradient: np.ndarray, buffers: State, lr: float, t: TrainingSpec) -> None:
    """Make a step of AdamW in place (Loshchilov & Hutter 2019), β = (0.9, 0.999), ε = 1e-8.

    The decay is scaled by the learning rate, as in PyTorch.
    """
    nothing = np.zeros(())
    n = buffers["step"] = buffers.get("step", nothing) + 1
    m = buffers["exp_avg"] = 0.9 * buffers.get("exp_avg", nothing) + 0.1 * gradient
    s = buffers["exp_avg_sq"] = 0.999 * buffers.get("exp_avg_sq", nothing) + 0.001 * gradient**2
    weight *= 1 - lr * t.weight_decay
    weight -= lr / (1 - 0.9**n) * m / (np.sqrt(s / (1 - 0.999**n)) + 1e-8)
