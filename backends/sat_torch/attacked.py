"""The network as attacks of a training see it: in evaluation mode, with weights that are cheap to compute with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

from sat_core.precision import HALF, OF_NETWORK
from sat_core.sections import TrainingSpec
from sat_torch.classifier import TorchClassifier
from sat_torch.folded import Folded, as_built
from sat_torch.modes import Forward, frozen


@final
class Attacked:
    """The network of a training, for attacks.

    Args:
        classifier: whose network is trained.
        training: its precision, and whether it is compiled.
        forward: images in [0, 1] to logits as the training computes them; attacked where nothing cheaper is equivalent.
    """

    def __init__(self, classifier: TorchClassifier, training: TrainingSpec, forward: Forward) -> None:
        self._classifier, self._forward = classifier, forward
        # under autocast the folded weights would be rounded, and TorchInductor folds by itself
        foldable = bool(classifier.description) and not training.compile and OF_NETWORK[training.precision] not in HALF
        self._folded = Folded(classifier.native) if foldable and as_built(classifier.native) else None

    @contextmanager
    def weights(self) -> Iterator[Forward]:
        """Inside, the network with the weights as they are now, in evaluation mode and without gradients for weights.

        It is the folded copy where the results are equivalent: not if a user has hooked or replaced a layer since.

        Yields:
            Images `(n, c, h, w)` in [0, 1] to logits.
        """
        module, folded = self._classifier.module, self._folded
        if folded is None or not as_built(self._classifier.native):
            with frozen(module):
                yield self._forward
            return
        normalised = module.normaliser(self._classifier.dtype)
        with folded.current():
            yield lambda images: folded(normalised(images))
