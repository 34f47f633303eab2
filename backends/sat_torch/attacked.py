"""The network as attacks of a training see it: in evaluation mode, with weights that are cheap to compute with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import final

import torch
from torch import Tensor

from sat_core.precision import HALF, OF_NETWORK
from sat_core.training_spec import TrainingSpec
from sat_torch.classifier import TorchClassifier
from sat_torch.folded import Folded, as_built
from sat_torch.modes import Forward, casts_once, frozen


@final
class Attacked:
    """The network of a training, for attacks.

    One of ours is attacked as a copy with BatchNorm folded into the convolutions, in the precision of the training. A
    user's is attacked as it is, and in half precision its weights are rounded once per attack.

    Args:
        classifier: whose network is trained.
        training: its precision, and whether it is compiled.
        forward: images in [0, 1] to logits as the training computes them; attacked where there is no folded copy.
    """

    def __init__(self, classifier: TorchClassifier, training: TrainingSpec, forward: Forward) -> None:
        self._classifier, self._forward = classifier, forward
        module, dtype = classifier.module, OF_NETWORK[training.precision]
        half = getattr(torch, dtype) if dtype in HALF else None
        self._folded = self._run = None
        if classifier.description and as_built(classifier.native):
            self._folded = folded = Folded(classifier.native, half)
            prepared = module.preparing(classifier.dtype)

            def run(images: Tensor) -> Tensor:
                return folded(prepared(images))

            self._run = torch.compile(run) if training.compile else run
        # what is compiled keeps no rounded weights between calls
        self._casts_once = half is not None and not training.compile

    @contextmanager
    def weights(self) -> Iterator[Forward]:
        """Inside, the network with the weights as they are now, in evaluation mode and without their gradients.

        It is the folded copy unless a user has hooked or replaced a layer since. Nothing in here waits for the device.

        Yields:
            Images `(n, c, h, w)` in [0, 1] to logits.
        """
        if self._folded is not None and self._run is not None and as_built(self._classifier.native):
            self._folded.fold()
            yield self._run
            return
        module = self._classifier.module
        with frozen(module), casts_once(module) if self._casts_once else nullcontext():
            yield self._forward
