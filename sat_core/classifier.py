"""What a classifier must offer: the calls that a backend implements and the checks around them, which the core owns.

Everything at this boundary is numpy: images `(n, h, w, c)` uint8 or float32 in [0, 1], labels int64 `(n,)`, logits
float32 `(n, k)`. Inside, a backend keeps its own layout, and offers native-tensor twins of the calls.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, final

import numpy as np

from sat_core.arrays import check_images, check_labels
from sat_core.errors import DataError, EvaluationError, SpecError

if TYPE_CHECKING:
    from sat_core.sections import AttackSpec

State = dict[str, np.ndarray]
"""Named arrays. Canonical: convolutions `(out, in, h, w)`, linear layers `(out, in)`, PyTorch's names."""

LOSSES = ("ce", "dlr", "targeted-dlr", "logit-difference")
"""Losses of `Classifier.loss_gradient`, per example and to be maximised by an attack (see `sat_core.reference`)."""


class Classifier(ABC):
    """A network from images in [0, 1] to logits. All calls but training run in evaluation mode and change nothing.

    Images `(n, h, w, c)` and labels may be tensors. Raises DataError for those that do not fit, and EvaluationError
    where the network gives NaN or infinity.
    """

    classes: int
    image_shape: tuple[int, int, int]
    native: Any
    """The framework's own module."""
    description: Mapping[str, Any]
    """What `Backend.new` needs to make this architecture again; goes into checkpoints. Empty for wrapped models."""
    precision: str = "float32"
    """The least precise type in which it computes, as ``bfloat16``; attacks on it compute in `attack_type` of that."""
    torch_device: str = "cpu"
    """Device of PyTorch on which `as_torch_module` takes its tensors."""
    head: Any = None
    """Features to logits, in the framework's own way, where only these are learned: see `with_head`. Else None."""

    @final
    def logits(self, images: np.ndarray) -> np.ndarray:
        """Logits, float32 `(n, k)`, of any number of images."""
        return self._finite("logits", self._logits(self._images(images)))

    @final
    def features(self, images: np.ndarray) -> np.ndarray:
        """The input of the last linear layer, float32 `(n, d)`."""
        return self._finite("features", self._features(self._images(images)))

    @final
    def with_head(self, classes: int, seed: int = 0) -> Classifier:
        """A classifier for a task of other `classes` on the same features (paper, S-CSAT and S-ESAT; recipe, 1.4).

        In place of the last layer it has one hidden layer, as wide as the features, a ReLU and a linear layer, whose
        weights the core draws for `seed`. All else is frozen, BatchNorm's statistics, too. Images and normalisation
        stay the same. This classifier is not changed. Raises SpecError for features that are not `(n, d)`.
        """
        if not isinstance(classes, int | np.integer) or classes < 2:
            raise SpecError(f"with_head: expected at least 2 classes, got {classes!r}")
        return self._with_head(int(classes), seed)

    @final
    def perturb(
        self, images: np.ndarray, labels: np.ndarray, attack: AttackSpec, rng: np.random.Generator | None = None
    ) -> np.ndarray:
        """Adversarial examples, float32 in [0, 1], within ε of `images`.

        `rng` draws the random start through the threat model (required if the attack has one). The caller's arrays,
        the weights, their gradients and the mode of every layer are as they were.
        """
        images = self._images(images)
        return self._finite("perturb", self._perturb(images, self._labels(labels, images), attack, rng))

    @final
    def loss_gradient(
        self, images: np.ndarray, labels: np.ndarray, loss: str = "ce", targets: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Logits `(n, k)`, losses `(n,)` and the gradient of their sum over the images, `(n, h, w, c)`; one call.

        loss: one of `LOSSES`. targets: int64 `(n,)`, for the targeted losses.
        """
        images = self._images(images)
        labels = self._labels(labels, images)
        targets = None if targets is None else self._labels(targets, images, "targets")
        logits, losses, gradient = self._loss_gradient(images, labels, loss, targets)
        self._finite("loss_gradient", losses)
        return self._finite("loss_gradient", logits), losses, self._finite("loss_gradient", gradient)

    @abstractmethod
    def _logits(self, images: np.ndarray) -> np.ndarray:
        """What `logits` is. Here and in the next four the core has checked the arguments, and checks the result."""

    @abstractmethod
    def _features(self, images: np.ndarray) -> np.ndarray: ...

    @abstractmethod
    def _with_head(self, classes: int, seed: int) -> Classifier: ...

    @abstractmethod
    def _perturb(
        self, images: np.ndarray, labels: np.ndarray, attack: AttackSpec, rng: np.random.Generator | None
    ) -> np.ndarray: ...

    @abstractmethod
    def _loss_gradient(
        self, images: np.ndarray, labels: np.ndarray, loss: str, targets: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...

    def _images(self, images: np.ndarray) -> np.ndarray:
        """`check_images`, of the shape that this network takes."""
        images = check_images(images)
        if images.shape[1:] != tuple(self.image_shape):
            expected = ", ".join(map(str, self.image_shape))
            raise DataError(
                f"images: expected shape (n, {expected}), got {images.shape}\n"
                "one image is images[None]; of another size, Examples.resized(image_shape)"
            )
        return images

    def _labels(self, labels: np.ndarray, images: np.ndarray, name: str = "labels") -> np.ndarray:
        labels = check_labels(labels, self.classes, name)
        if len(labels) != len(images):
            raise DataError(f"{name}: expected one for each of {len(images)} images, got {len(labels)}")
        return labels

    def _finite(self, call: str, found: np.ndarray) -> np.ndarray:
        if not np.isfinite(found).all():
            bad = int((~np.isfinite(found.reshape(len(found), -1)).all(axis=1)).sum())
            raise EvaluationError(
                f"{call}: expected finite numbers, got NaN or infinity for {bad} of {len(found)} images\n"
                "the weights are not finite, or the network overflows in its precision"
            )
        return found

    @abstractmethod
    def as_torch_module(self) -> Any:
        """A differentiable `torch.nn.Module` in evaluation mode: float32 `(n, c, h, w)` in [0, 1] to float32 logits."""

    @contextmanager
    def exact(self) -> Iterator[None]:
        """Inside, float32 is float32: no product is rounded to TF32, as GPUs may do; afterwards as it was."""
        yield

    def attacked_torch_module(self, again: bool = True) -> Any:
        """As `as_torch_module`, for many calls with the weights of now: it may be faster, and differ in rounding.

        again: gradients may be asked for more than once of the same logits, which takes more memory.
        """
        return self.as_torch_module()

    @abstractmethod
    def state(self) -> State:
        """Copies of all weights and BatchNorm statistics under canonical names."""

    @abstractmethod
    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over `state`; CheckpointError names the first array that is missing, surplus or of another shape."""
