"""Threat models in numpy: which perturbations are allowed, apart from any attack loop.

These are the definitions. `sat_core.geometry` has the same on tensors, and is compared with them.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from sat_core.errors import SpecError
from sat_core.functions import PerBackend
from sat_core.noise import uniforms
from sat_core.numpy_ops import NUMPY
from sat_core.registry import Registry

TINY = 1e-10
"""Added to norms before a division, as in the authors' code (recipe, section 3)."""


class Norm(ABC):
    """How large perturbations δ of shape `(n, h, w, c)` are, in units of [0, 1] pixels: all that an evaluation needs.

    Attributes:
        name: Of the norm.
    """

    name: str

    @abstractmethod
    def size(self, delta: np.ndarray) -> np.ndarray:
        """Return the norm of each δ, float64 `(n,)`."""

    @abstractmethod
    def diameter(self, image_shape: tuple[int, ...] | None) -> float:
        """Return the largest distance between two images in [0, 1].

        Args:
            image_shape: `(h, w, c)`; the result is infinite if it depends on a shape that is not given.
        """

    def check(self, lengths: Mapping[str, float], image_shape: tuple[int, ...] | None = None) -> None:
        """Refuse lengths that reach across the whole space of images, usually because they are in units of 0..255.

        Args:
            lengths: radii and step sizes, by the names that messages use.
            image_shape: `(h, w, c)`, if it is known.

        Raises:
            SpecError: for the first length that is the diameter or more; a ball of that radius holds every image.
        """
        limit = self.diameter(image_shape)
        for name, length in lengths.items():
            if length >= limit:
                images = "images" if image_shape is None else f"{' x '.join(map(str, image_shape))} images"
                hint = f"; did you mean {length:g}/255?" if length / 255 < limit else ""
                raise SpecError(
                    f"{name}: expected less than {limit:.4g}, the {self.name} diameter of {images} with pixels in "
                    f"[0, 1], got {length:g}{hint}"
                )


class ThreatModel(Norm, PerBackend, ABC):
    """An ε-ball of perturbations δ of shape `(n, h, w, c)`, in units of [0, 1] pixels.

    Attributes:
        name: In the registry.
        eps: Radius by default; None if it has to be given.
        step_size: Of PGD by default, in units of ε.
        functions: Of a threat model of a plug-in: per backend the class of its `sat_core.geometry.Geometry`, or a
            function of the same arguments (ops, tiny) that returns one.
    """

    kind: ClassVar[str] = "norm"
    eps: float | None = None
    step_size: float = 0.25

    def needs_function(self, backend: str) -> bool:
        """See `PerBackend`: the definition is numpy's, and the geometry of ours is in `sat_core.geometry`."""
        return backend != "numpy" and type(self).__module__ != __name__

    @abstractmethod
    def project(self, delta: np.ndarray, eps: float) -> np.ndarray:
        """Return the nearest perturbation inside the ball of radius `eps`, for each δ."""

    @abstractmethod
    def ascent_direction(self, gradient: np.ndarray) -> np.ndarray:
        """Return the step of norm 1 along which the loss rises fastest: argmax <v, gradient> over norm(v) <= 1.

        Another direction of norm 1 may be better where that one changes a single pixel, as in L1.
        """

    def random_start(self, rng: np.random.Generator, shape: tuple[int, ...], eps: float) -> np.ndarray:
        """Draw δ of the given shape `(n, h, w, c)` inside the ball, float32."""
        return self.start(rng.integers(0, 2**32, (shape[0], 2), np.uint32), shape, eps)

    @abstractmethod
    def start(self, keys: np.ndarray, shape: tuple[int, ...], eps: float) -> np.ndarray:
        """Return δ of the given shape `(n, h, w, c)` inside the ball, float32, which follows from `keys`.

        Args:
            keys: uint32 `(n, 2)`, as `sat_core.noise.example_keys` makes them.
            shape: of the images.
            eps: radius.
        """


class L2(ThreatModel):
    """Euclidean ball. Random start: direction of a cube-uniform draw, length r·ε, r uniform in [0, 1] (recipe, 1.1)."""

    name = "L2"
    eps, step_size = 0.5, 0.2  # 0.1 in units of pixels, as in the authors' code

    def size(self, delta: np.ndarray) -> np.ndarray:
        flat = _flat(delta).astype(np.float64)
        return np.sqrt(np.einsum("ni,ni->n", flat, flat))

    def project(self, delta: np.ndarray, eps: float) -> np.ndarray:
        # TINY keeps δ = 0 from a division by 0. Elsewhere it makes δ shorter, never longer than ε.
        scale = np.minimum(1.0, eps / (self.size(delta) + TINY))
        return delta * _per_example(scale, delta)

    def ascent_direction(self, gradient: np.ndarray) -> np.ndarray:
        # A gradient of 0 gives a step of 0: an image whose loss is saturated stays where it is.
        return gradient * _per_example(1.0 / (self.size(gradient) + TINY), gradient)

    def start(self, keys: np.ndarray, shape: tuple[int, ...], eps: float) -> np.ndarray:
        # Not uniform in the ball, whose volume lies near its surface; the published runs draw like this. The uniform
        # behind those of the pixels is the length.
        drawn = uniforms(NUMPY, keys, math.prod(shape[1:]) + 1)
        cube = (drawn[:, :-1] * 2 - 1).reshape(shape)
        return self.ascent_direction(cube) * _per_example(drawn[:, -1] * np.float32(eps), cube)

    def diameter(self, image_shape: tuple[int, ...] | None) -> float:
        return math.inf if image_shape is None else math.sqrt(math.prod(image_shape))


class Linf(ThreatModel):
    """Maximum-norm ball. Random start: uniform in the ball."""

    name = "Linf"
    eps, step_size = 8 / 255, 0.25  # 2/255, as in the authors' code

    def size(self, delta: np.ndarray) -> np.ndarray:
        return np.abs(_flat(delta)).astype(np.float64).max(axis=1, initial=0.0)

    def project(self, delta: np.ndarray, eps: float) -> np.ndarray:
        return np.clip(delta, -eps, eps)

    def ascent_direction(self, gradient: np.ndarray) -> np.ndarray:
        return np.sign(gradient)

    def start(self, keys: np.ndarray, shape: tuple[int, ...], eps: float) -> np.ndarray:
        drawn: np.ndarray = uniforms(NUMPY, keys, math.prod(shape[1:])).reshape(shape)
        return (drawn * 2 - 1) * np.float32(eps)

    def diameter(self, image_shape: tuple[int, ...] | None) -> float:
        return 1.0


class L1(Norm):
    """Sum of absolute values. AutoAttack's package attacks in it; to train in it takes a threat model of a plug-in."""

    name = "L1"

    def size(self, delta: np.ndarray) -> np.ndarray:
        total: np.ndarray = np.abs(_flat(delta)).astype(np.float64).sum(axis=1)
        return total

    def diameter(self, image_shape: tuple[int, ...] | None) -> float:
        return math.inf if image_shape is None else float(math.prod(image_shape))


def _flat(delta: np.ndarray) -> np.ndarray:
    return delta.reshape(len(delta), math.prod(delta.shape[1:]))  # reshape(n, -1) fails for n = 0


def _per_example(scale: np.ndarray, like: np.ndarray) -> np.ndarray:
    return scale.astype(like.dtype).reshape(-1, *[1] * (like.ndim - 1))


THREAT_MODELS: Registry[ThreatModel] = Registry("norm", "sat_core.threat_models", of=ThreatModel)
for _model in (L2(), Linf()):
    THREAT_MODELS.register(_model.name, _model)
_ATTACKED_ONLY: dict[str, Norm] = {"L1": L1()}
"""Norms without a threat model of ours, in which evaluations attack nevertheless."""


def norm_names() -> tuple[str, ...]:
    """Return the names that `norm_of` takes."""
    return tuple(dict.fromkeys([*THREAT_MODELS.names(), *_ATTACKED_ONLY]))


def norm_of(name: str) -> Norm:
    """Return the norm called `name`: the threat model of that name, or L1 without one; SpecError if there is none."""
    return THREAT_MODELS.get(name) if name in THREAT_MODELS or name not in _ATTACKED_ONLY else _ATTACKED_ONLY[name]
