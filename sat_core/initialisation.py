"""Initial weights, drawn in numpy, so that a seed gives the same network in every backend (recipe, section 1.0)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sat_core.streams import stream


def initial_state(template: Mapping[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """Draw initial weights.

    Convolutions and linear layers: Kaiming normal, fan-in, gain √2. Biases and running means 0, running variances 1,
    BatchNorm weights N(1, 0.02). Each array has a random stream of its own, named after it, so that neither the order
    of arrays nor a new one among them changes the others.

    Args:
        template: arrays of the canonical names, shapes and types, with any values.
        seed: of the network.
    """
    return {name: _draw(name, value, seed) for name, value in template.items()}


def _draw(name: str, like: np.ndarray, seed: int) -> np.ndarray:
    rng = stream(seed, f"weights {name}")
    leaf = name.rsplit(".", 1)[-1]
    if like.ndim > 1:
        # Canonical shapes have the outputs first: (out, in) and (out, in, k, k).
        fan_in = int(np.prod(like.shape[1:]))
        return (rng.standard_normal(like.shape) * np.sqrt(2 / fan_in)).astype(like.dtype)
    # Of one axis only BatchNorm has a "weight". N(1, 0.02) is the code's default, which no configuration changes.
    if leaf == "weight":
        return (1 + 0.02 * rng.standard_normal(like.shape)).astype(like.dtype)
    return np.full_like(like, 1 if leaf == "running_var" else 0)
