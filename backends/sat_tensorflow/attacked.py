"""The network as attacks of a training see it: in evaluation mode, with weights that are cheap to compute with."""

from __future__ import annotations

from typing import final

from sat_core.precision import HALF, OF_NETWORK
from sat_core.sections import TrainingSpec
from sat_tensorflow.classifier import TensorFlowClassifier
from sat_tensorflow.modes import Forward


@final
class Attacked:
    """The network of a training, for attacks.

    Args:
        classifier: whose network is trained.
        training: its precision.
        forward: images in [0, 1] to logits in evaluation mode, in the precision of the training; attacked where nothing
            cheaper is equivalent.
    """

    def __init__(self, classifier: TensorFlowClassifier, training: TrainingSpec, forward: Forward) -> None:
        self._classifier, self._forward = classifier, forward
        self._half = OF_NETWORK[training.precision] in HALF  # folded weights would be rounded

    def weights(self) -> Forward:
        """Return the network with the weights as they are now, in evaluation mode; gradients end at the weights.

        To be called while a graph is traced, before the steps of the attack, so that the graph prepares the weights
        once per attack.

        Returns:
            Images `(n, h, w, c)` in [0, 1] to logits.
        """
        return self._forward if self._half else self._classifier.folded()
