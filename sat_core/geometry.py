"""The geometry of norm balls on the tensors of any framework, for training and for the fast engine alike.

`sat_core.threat` has the same in numpy, with random starts; it defines the norms, and the contract suite compares every
backend with it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Protocol, final

from sat_core.threat import THREAT_MODELS, TINY

Tensor = Any
"""A tensor of whatever framework the operations belong to; the layout of images is that framework's."""


class NormOps(Protocol):
    """The tensor operations that a geometry is made of. That of a plug-in may use its framework itself."""

    backend: str
    """Name of the backend."""

    def norm(self, x: Tensor, order: float) -> Tensor:
        """Return the norm of each `x[i]`; all axes but the first are kept with length 1. order: 2 or infinity."""

    def sign(self, x: Tensor) -> Tensor:
        """Return -1, 0 or 1 for each number."""

    def clip(self, x: Tensor, low: Any, high: Any) -> Tensor:
        """Return `x` limited to [`low`, `high`], which are numbers or scalars of its type."""


class Geometry(ABC):
    """An ε-ball of perturbations δ, one per entry of the first axis; ε is in units of [0, 1] pixels.

    Args:
        ops: the framework's operations.
        tiny: is added to norms before a division, so that a gradient of zero gives a step of zero, not NaN.
    """

    name: str

    def __init__(self, ops: NormOps, tiny: float = TINY) -> None:
        self.ops, self.tiny = ops, tiny

    @abstractmethod
    def size(self, delta: Tensor) -> Tensor:
        """Return the norm of each δ, with the other axes kept."""

    @abstractmethod
    def project(self, delta: Tensor, eps: Any) -> Tensor:
        """Return the nearest δ inside the ball of radius `eps`, for each δ."""

    @abstractmethod
    def ascent_direction(self, gradient: Tensor) -> Tensor:
        """Return the step of norm 1 along which the loss rises fastest, as `sat_core.threat.ThreatModel` has it."""

    @abstractmethod
    def start(self, cube: Tensor, length: Tensor, eps: Any) -> Tensor:
        """Return the random start that `sat_core.threat` defines.

        Args:
            cube: uniform in [-1, 1), of the shape of the images.
            length: one uniform in [0, 1) per image, with the other axes kept.
            eps: radius.
        """


@final
class L2(Geometry):
    """Euclidean ball."""

    name = "L2"

    def size(self, delta: Tensor) -> Tensor:
        return self.ops.norm(delta, 2.0)

    def project(self, delta: Tensor, eps: Any) -> Tensor:
        # Scales down only: what is inside the ball stays as it is.
        return delta * self.ops.clip(eps / (self.size(delta) + self.tiny), 0.0, 1.0)

    def ascent_direction(self, gradient: Tensor) -> Tensor:
        return gradient / (self.size(gradient) + self.tiny)

    def start(self, cube: Tensor, length: Tensor, eps: Any) -> Tensor:
        return self.ascent_direction(cube) * (length * eps)


@final
class Linf(Geometry):
    """Maximum-norm ball."""

    name = "Linf"

    def size(self, delta: Tensor) -> Tensor:
        return self.ops.norm(delta, math.inf)

    def project(self, delta: Tensor, eps: Any) -> Tensor:
        return self.ops.clip(delta, -eps, eps)

    def ascent_direction(self, gradient: Tensor) -> Tensor:
        return self.ops.sign(gradient)

    def start(self, cube: Tensor, length: Tensor, eps: Any) -> Tensor:
        return cube * eps


GEOMETRIES: dict[str, type[Geometry]] = {kind.name: kind for kind in (L2, Linf)}
"""Those of our threat models. Threat models of others bring theirs (`sat_core.threat.ThreatModel.functions`)."""


def get_geometry(norm: str, ops: NormOps, tiny: float = TINY) -> Geometry:
    """Return the geometry called `norm`, made of `ops`.

    Raises:
        SpecError: There is no such norm, or it is one of a plug-in that has no geometry for the backend of `ops`.
    """
    if norm in GEOMETRIES:
        return GEOMETRIES[norm](ops, tiny)
    geometry: Geometry = THREAT_MODELS.get(norm).function(ops.backend)(ops, tiny)
    return geometry
