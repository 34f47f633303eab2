"""The batch of a step: gathered, augmented, and put into the order in which members come first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import attrs
import numpy as np
import torch
from torch import Tensor

from sat_core.augmentation import AUGMENTATIONS, Moves
from sat_core.data import Examples
from sat_core.images import ImageSource
from sat_torch.augmentation import augment
from sat_torch.classifier import TorchClassifier
from sat_torch.graphs import Upload


@final
@attrs.frozen(kw_only=True, eq=False)
class Batch:
    """A batch, or a part of one, whose members of A come first.

    Attributes:
        images: `(n, c, h, w)` as augmented and mixed, or features `(n, d)`.
        labels: int64 `(n,)`, or where images are mixed targets `(n, k)`.
        weights: In the loss, `(n,)`.
        total: Σ w of the whole batch.
        members: Number of members, a scalar tensor.
        size: Number of images that are attacked: all members, and if it is `padded` some more.
        padded: Whether images are attacked in vain, as steps are compiled or captured for few sizes.
        keys: Of the random starts, words `(n, 2·restarts)`.
        beta: β of the loss, a scalar tensor.
        strength: Factor of ε, a scalar tensor.
    """

    images: Tensor
    labels: Tensor
    weights: Tensor
    total: Tensor
    members: Tensor
    size: int
    padded: bool
    keys: Tensor | None = None
    beta: Tensor | float = 0.0
    strength: Tensor | None = None

    def is_member(self, n: int) -> Tensor:
        """Return which of the first `n` images are of members, bool `(n,)`."""
        return torch.arange(n, device=self.members.device) < self.members

    def ordered(self, order: Tensor) -> Batch:
        """Return images, labels and keys in another order; weights are those of the new one already."""
        keys = None if self.keys is None else self.keys[order]
        return attrs.evolve(self, images=self.images[order], labels=self.labels[order], keys=keys)

    def part(self, k: int, parts: int) -> Batch:
        """Return every example from number k on that is `parts` after another; see `EpochPlan.share`."""
        if parts == 1:
            return self
        return attrs.evolve(
            self,
            images=self.images[k::parts],
            labels=self.labels[k::parts],
            weights=self.weights[k::parts],
            members=(self.members + (parts - 1 - k)).div(parts, rounding_mode="floor"),
            size=-((k - self.size) // parts),
            keys=None if self.keys is None else self.keys[k::parts],
        )


@final
class Batches:
    """Makes batches of data that lie on the device.

    Args:
        classifier: That is trained.
        data: Its training data.
        features: In place of the images, `(N, d)`.
        augmentation: Name of an augmentation.
        layout: Memory format of batches of images.
    """

    def __init__(
        self,
        classifier: TorchClassifier,
        data: Examples,
        features: np.ndarray | None,
        augmentation: str,
        layout: torch.memory_format,
    ) -> None:
        device, self._dtype, self._layout = classifier.device, classifier.dtype, layout
        self._augmentation, self._shape = AUGMENTATIONS.get(augmentation), classifier.image_shape
        self._upload = Upload(device)
        self._images: Tensor | None = None  # where images are decoded on demand, they come with each step
        self._decoded = torch.zeros(0, *self._shape, dtype=torch.uint8, device=device)
        if features is not None:
            self._images = torch.from_numpy(features).to(device)
        elif not isinstance(data.images, ImageSource):
            self._images = _channels_first(data.images).to(device)
        self.labels = torch.tensor(data.labels, device=device)
        """Of all examples."""

    def reserve(self, n: int) -> None:
        """Make memory for `n` images of a step, where they are decoded on demand."""
        if self._images is None:
            self._decoded = self._decoded.new_zeros(n, *self._shape)

    def take(self, images: np.ndarray) -> None:
        """Copy the decoded images of the next step to the device."""
        self._decoded.copy_(self._upload(images))

    def images(self, rows: Mapping[str, Tensor]) -> Tensor:
        """Return images, or features, as floats and augmented. rows: what the plan says of the step."""
        images = self._decoded.permute(0, 3, 1, 2) if self._images is None else self._images[rows["index"]]
        # bytes lie on the device as they are, in a quarter of the memory of float32, and become floats batch by batch
        images = images.to(self._dtype) / 255 if images.dtype == torch.uint8 else images.to(self._dtype)
        if "integers" in rows:
            images = augment(images, self._augmentation, Moves(rows["integers"], rows["factors"]))
        return images.contiguous(memory_format=self._layout) if images.ndim == 4 else images

    def zeros(self, n: int) -> Tensor:
        """Return memory for a batch of `n` images, or features."""
        h, w, c = self._shape
        shape = (c, h, w) if self._images is None else self._images.shape[1:]
        zeros = torch.zeros(n, *shape, dtype=self._dtype, device=self.labels.device)
        return zeros.contiguous(memory_format=self._layout) if zeros.ndim == 4 else zeros


def _channels_first(images: np.ndarray) -> Tensor:
    """A view of `images` `(n, h, w, c)`."""
    return torch.from_numpy(images if images.flags.writeable else images.copy()).permute(0, 3, 1, 2)
