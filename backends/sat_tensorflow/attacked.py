"""The network as attacks of a training see it: in evaluation mode, with weights that are cheap to compute with."""

from __future__ import annotations

from typing import final

from sat_core.precision import HALF, OF_NETWORK
from sat_core.training_spec import TrainingSpec
from sat_tensorflow.classifier import TensorFlowClassifier
from sat_tensorflow.folded import folded
from sat_tensorflow.modes import Forward, constants, held


@final
class Attacked:
    """The network of a training, for attacks.

    One of ours is attacked as a copy with BatchNorm folded into the convolutions, in the precision of the training. A
    user's is attacked as it is, and in half precision its weights are rounded once per attack.

    Args:
        classifier: whose network is trained.
        training: its precision.
    """

    def __init__(self, classifier: TensorFlowClassifier, training: TrainingSpec) -> None:
        dtype = OF_NETWORK[training.precision]
        half, native = dtype if dtype in HALF else None, classifier.native
        self._on_images = ends = classifier.on_images
        self._hold = (
            folded(native, half)
            if classifier.description
            else lambda: held(native, constants(native, half), half, ends.logits)
        )

    def weights(self) -> Forward:
        """Return the network with the weights as they are now, in evaluation mode; gradients end at the weights.

        To be called while a graph is traced, before the steps of the attack, so that the graph folds and rounds the
        weights once per attack.

        Returns:
            Images `(n, h, w, c)` in [0, 1] to logits in their type.
        """
        own = self._hold()
        return lambda images: own(self._on_images.prepared(images))
