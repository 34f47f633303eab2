"""Threat models on tensors; see `sat_core.threat` for the definitions."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from sat_core.threat import TINY


class Geometry(Protocol):
    """A norm's projection and ascent direction, on δ of shape `(n, c, h, w)`."""

    def project(self, delta: Tensor, eps: float) -> Tensor:
        """The nearest δ inside the ball."""

    def ascent_direction(self, gradient: Tensor) -> Tensor:
        """The step of norm 1 along which the loss rises fastest."""


class L2:
    """Euclidean ball."""

    def project(self, delta: Tensor, eps: float) -> Tensor:
        return delta * (eps / (_size(delta) + TINY)).clamp(max=1.0)

    def ascent_direction(self, gradient: Tensor) -> Tensor:
        return gradient / (_size(gradient) + TINY)


class Linf:
    """Maximum-norm ball."""

    def project(self, delta: Tensor, eps: float) -> Tensor:
        return delta.clamp(-eps, eps)

    def ascent_direction(self, gradient: Tensor) -> Tensor:
        return gradient.sign()


def _size(delta: Tensor) -> Tensor:
    return torch.linalg.vector_norm(delta, dim=(1, 2, 3), keepdim=True)


GEOMETRIES: dict[str, Geometry] = {"L2": L2(), "Linf": Linf()}
