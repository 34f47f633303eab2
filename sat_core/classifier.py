"""What a classifier must offer: the calls that a backend implements, and what the core does around them.

Everything at this boundary is numpy: images `(n, h, w, c)` uint8 or float32 in [0, 1], labels int64 `(n,)`, logits
float32 `(n, k)`. Inside, a backend keeps its own layout, and offers native-tensor twins of the calls.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, final

import numpy as np

from sat_core.arrays import as_float, finite, images_of_shape, labels_for
from sat_core.attack_spec import AttackSpec
from sat_core.chunks import CHUNK, T, in_parts
from sat_core.errors import SpecError
from sat_core.input_spec import InputSpec
from sat_core.starts import starts_of

if TYPE_CHECKING:
    from sat_core.network_cost import NetworkCost

State = dict[str, np.ndarray]
"""Named arrays. Canonical: convolutions `(out, in, h, w)`, linear layers `(out, in)`, PyTorch's names."""

ATTACK_LOSSES = ("ce", "dlr", "targeted-dlr", "margin")
"""Losses of `Classifier.loss_gradient`, per example and to be maximised by an attack (see `sat_core.reference`)."""


class Classifier(ABC):
    """A network from images in [0, 1] to logits. All calls but training run in evaluation mode and change nothing.

    Images `(n, h, w, c)` and labels may be arrays or tensors, and there may be any number of them. All calls raise
    DataError for images or labels that do not fit, and EvaluationError where the network gives NaN or infinity.
    """

    inputs: InputSpec
    """Classes, shape of the images and normalisation."""
    native: Any
    """The framework's own module."""
    description: Mapping[str, Any]
    """What `Backend.new` needs to make this architecture again; goes into checkpoints. Empty for wrapped models."""
    precision: str = "float32"
    """The least precise type in which it computes, as ``bfloat16``; attacks on it compute in `attack_type` of that."""
    torch_device: str = "cpu"
    """Device of PyTorch on which `as_torch_module` takes its tensors."""
    default_attack: AttackSpec | None = None
    """What `perturb` does unless it is told otherwise."""
    out_of_memory: tuple[type[Exception], ...] = ()
    """Errors by which the framework says that its device has no memory left; the call is tried on fewer images then."""
    capturable: bool = False
    """Whether `attacked_torch_module` only queues work on PyTorch's current stream, so a CUDA graph may hold it."""
    taken: tuple[str, ...] = ()
    """What was taken from the record of the library that the network is from, one line each, for people to read."""
    weights_for: int = 0
    """See `sat_core.zoos.ZooNetwork`."""
    head: Any = None
    """Features to logits, in the framework's own way, where only these are learned: see `with_head`. Else None."""

    _most: int = sys.maxsize
    """Images per call after memory ran out, so that later calls do not run out of it again."""

    @property
    def classes(self) -> int:
        """Number of logits."""
        return self.inputs.classes

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(h, w, c)` of the images that it takes."""
        return self.inputs.image_shape

    @final
    def logits(self, images: np.ndarray) -> np.ndarray:
        """Return the logits, float32 `(n, k)`."""
        return finite("logits", self._in_chunks(self._logits, images))

    @final
    def features(self, images: np.ndarray) -> np.ndarray:
        """Return the input of the last linear layer, float32 `(n, d)`."""
        return finite("features", self._in_chunks(self._features, images))

    @final
    def with_head(self, classes: int, seed: int = 0) -> Classifier:
        """Make a classifier for another task on the same features (paper, S-CSAT and S-ESAT; recipe, 1.4).

        In place of the last layer it has one hidden layer, as wide as the features, a ReLU and a linear layer. All
        else is frozen, BatchNorm's statistics, too. This classifier is not changed.

        Args:
            classes: of the new task.
            seed: from which the core draws the weights of the head.

        Raises:
            SpecError: for features that are not `(n, d)`.
        """
        if not isinstance(classes, int | np.integer) or classes < 2:
            raise SpecError(f"with_head: expected at least 2 classes, got {classes!r}")
        return self._with_head(int(classes), seed)

    @abstractmethod
    def last_layer(self) -> tuple[str, ...]:
        """Return the names, in `state`, of the linear layer that makes the logits; none if another layer does."""

    @abstractmethod
    def learn(self, layers: str) -> None:
        """Say what trainers that are made from now on train.

        Args:
            layers: ``all``, or the ``head``: the linear layer that makes the logits. All else stays as it is then, to
                the byte: in training, too, it is in evaluation mode. Names in `state` are the same either way.

        Raises:
            SpecError: for ``head`` where another layer makes the logits.
        """

    def _makes_logits(self, width: int) -> bool:
        # one logit tells two classes apart
        return width == self.classes or (width == 1 and self.classes == 2)

    @final
    def perturb(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        attack: AttackSpec | None = None,
        rng: np.random.Generator | None = None,
    ) -> np.ndarray:
        """Attack `images`; the caller's arrays, weights, gradients and modes of layers stay as they were.

        Args:
            images: uint8 or float32 in [0, 1], `(n, h, w, c)`.
            labels: true classes, `(n,)`.
            attack: norm, radius and steps. Default: `default_attack`, which `sat_core.train` sets.
            rng: draws the random start through the threat model; required if the attack has one.

        Returns:
            Adversarial examples, float32 in [0, 1], within ``attack.reach`` of `images`.

        Raises:
            SpecError: for a random start without `rng`, or if ε or the step size is too large for `images`; or no
                attack is given and there is no default; or it is ``free`` or has a warm-up, which are ways to train.
        """
        attack = attack or self.default_attack
        if attack is None:
            raise SpecError('perturb: expected an attack, got none; pass one, as AttackSpec(norm="L2", eps=0.5)')
        images = images_of_shape(images, self.image_shape)
        labels = labels_for(labels, len(images), self.classes)
        # Drawn for all images at once, so that the size of chunks changes no draw.
        tries = [self._attacked(images, labels, attack, start) for start in starts_of(images, attack, rng)]
        if len(tries) == 1:
            return tries[0]
        from sat_core.reference.attacks import strongest
        from sat_core.reference.losses import loss_and_gradient

        def losses(images: np.ndarray, labels: np.ndarray, loss: str) -> tuple[np.ndarray, ...]:
            logits = self.logits(images)
            return logits, *loss_and_gradient(logits, labels, loss)

        return strongest(losses, images, labels, attack, tries)

    def _attacked(
        self, images: np.ndarray, labels: np.ndarray, attack: AttackSpec, start: np.ndarray | None
    ) -> np.ndarray:
        # Without this part there would be nothing to concatenate for no images.
        parts = [np.empty((0, *self.image_shape), np.float32)]

        def call(rows: np.ndarray) -> np.ndarray:
            part = slice(rows[0], rows[-1] + 1)
            noise = None if start is None else start[part]
            # float32 chunk by chunk: of all images it would take four times the memory of uint8.
            return self._perturb(as_float(images[part]), labels[part], attack, noise)

        parts.extend(self._in_parts(np.arange(len(images)), call, self.images_at_once()))
        return finite("perturb", np.concatenate(parts))

    @final
    def loss_gradient(
        self, images: np.ndarray, labels: np.ndarray, loss: str = "ce", targets: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Compute logits, losses and the gradient of their sum over the images, in one call.

        Args:
            images: uint8 or float32 in [0, 1], `(n, h, w, c)`.
            labels: true classes, `(n,)`.
            loss: one of `ATTACK_LOSSES`.
            targets: other classes, int64 `(n,)`, for the targeted losses.

        Returns:
            Logits `(n, k)`, losses `(n,)` and gradient `(n, h, w, c)`, all float32.
        """
        images = images_of_shape(images, self.image_shape)
        labels = labels_for(labels, len(images), self.classes)
        targets = None if targets is None else labels_for(targets, len(images), self.classes, "targets")
        if len(images) == 0:
            zero = np.zeros(1, np.int64)
            logits, losses, gradient = self._loss_gradient(self._one(), zero, loss, None if targets is None else zero)
            return logits[:0], losses[:0], gradient[:0]

        def call(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            part = slice(rows[0], rows[-1] + 1)
            towards = None if targets is None else targets[part]
            return self._loss_gradient(as_float(images[part]), labels[part], loss, towards)

        # all in one call if memory allows: whoever asks for gradients has chosen the batch
        parts = self._in_parts(np.arange(len(images)), call, len(images))
        logits, losses, gradient = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        finite("loss_gradient", losses)
        return finite("loss_gradient", logits), losses, finite("loss_gradient", gradient)

    def images_at_once(self) -> int:
        """Return how many images are best sent through the network and back at a time; a backend may know its device.

        `logits`, `features` and `perturb` take that many in a call, and half of them where memory runs out.
        """
        return CHUNK

    def cost(self) -> NetworkCost | None:
        """Return what an image costs in this network: weights, FLOPs, memory. Nothing of the network changes.

        A backend measures it, so that it is known of any network. Here it is that of the networks of ours.

        Returns:
            The cost; None where it cannot be told.
        """
        from sat_core.network_cost import network_cost

        model, head = str(self.description.get("model", "")), bool(self.description.get("head"))
        return network_cost(model, self.inputs.network_shape, self.classes, head=head)

    @abstractmethod
    def _logits(self, images: np.ndarray) -> np.ndarray:
        """Return what `logits` does, for at least one image and at most `images_at_once` of them.

        Here and in the next four the core has checked the arguments, made images float32, and checks the result.
        """

    @abstractmethod
    def _features(self, images: np.ndarray) -> np.ndarray: ...

    @abstractmethod
    def _with_head(self, classes: int, seed: int) -> Classifier: ...

    @abstractmethod
    def _perturb(
        self, images: np.ndarray, labels: np.ndarray, attack: AttackSpec, start: np.ndarray | None
    ) -> np.ndarray:
        """Return what `perturb` does, for at most `images_at_once` images. start: δ, float32 `(n, h, w, c)`."""

    @abstractmethod
    def _loss_gradient(
        self, images: np.ndarray, labels: np.ndarray, loss: str, targets: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...

    def _in_chunks(self, call: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> np.ndarray:
        images = images_of_shape(images, self.image_shape)
        if len(images) == 0:  # convolutions refuse a batch of nothing; one image tells the shape of the result
            return call(self._one())[:0]
        parts = self._in_parts(images, lambda part: call(as_float(part)), self.images_at_once())
        return np.concatenate([*parts])

    def _in_parts(self, items: np.ndarray, call: Callable[[np.ndarray], T], size: int) -> Iterator[T]:
        def lowered(size: int) -> None:
            self._most = size

        return in_parts(items, min(size, self._most), call, self.out_of_memory, lowered)

    def _one(self) -> np.ndarray:
        return np.zeros((1, *self.image_shape), np.float32)

    @abstractmethod
    def as_torch_module(self) -> Any:
        """Return a differentiable `torch.nn.Module` in evaluation mode.

        It takes float32 `(n, c, h, w)` in [0, 1] and gives float32 logits `(n, k)`.
        """

    @contextmanager
    def exact(self) -> Iterator[None]:
        """Inside, float32 is float32: no product is rounded to TF32, as GPUs may do; afterwards as it was."""
        yield

    def attacked_torch_module(self) -> Any:
        """Return a module as `as_torch_module` does, for many calls with the weights as they are now.

        It may be faster, and then differs in rounding.
        """
        return self.as_torch_module()

    @abstractmethod
    def state(self) -> State:
        """Return copies of all weights and BatchNorm statistics under canonical names."""

    @abstractmethod
    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over `state`; CheckpointError names the first array that is missing, surplus or of another shape."""
