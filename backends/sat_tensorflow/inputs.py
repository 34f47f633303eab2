"""What stands between images in [0, 1] and a network, and between what it returns and logits."""

from __future__ import annotations

from typing import Any, final

import tensorflow as tf
from tensorflow import Tensor

from sat_core.input_spec import InputSpec
from sat_core.outputs import is_one_logit, logits_in
from sat_core.scaling import SLACK


@final
class OnImages:
    """The two ends of a network on [0, 1] images, which are scaled and normalised first as `inputs` says.

    Statistics and maps are rounded once to the type of the images, so that a float64 training is exact.
    """

    def __init__(self, inputs: InputSpec) -> None:
        self.inputs = inputs
        self._maps = inputs.scaling and inputs.scaling.maps(*inputs.image_shape[:2])

    def prepared(self, images: Tensor) -> Tensor:
        """Return what the network takes for images `(n, h, w, c)` in [0, 1]."""
        images = self._scaled(images)
        if not self.inputs.mean:
            return images
        return (images - tf.constant(self.inputs.mean, images.dtype)) / tf.constant(self.inputs.std, images.dtype)

    def _scaled(self, images: Tensor) -> Tensor:
        scaling = self.inputs.scaling
        if scaling is None or self._maps is None:
            return images
        # products as in the other backends, whatever Keras's own filters are
        rows, columns = (tf.constant(weights, images.dtype) for weights in self._maps)
        images = tf.einsum("ih,nhwc->niwc", rows, tf.einsum("jw,nhwc->nhjc", columns, images))
        images = tf.clip_by_value(images, -SLACK, 1 + SLACK) if scaling.overshoots else images
        images = images if not scaling.channels else tf.repeat(images, scaling.channels // images.shape[3], axis=3)
        return images[..., ::-1] if scaling.bgr else images

    def logits(self, output: Any, images: Tensor) -> Any:
        """Return the logits in what the network returned for images `(n, h, w, c)`; what has none as it is."""
        logits = logits_in(output, self.inputs.output, tf.is_tensor)
        if tf.is_tensor(logits) and logits.shape.rank is not None:
            rows = images.shape[0] if logits.shape.rank == 0 or logits.shape[0] is not None else None
            if is_one_logit(tuple(logits.shape), rows, self.inputs.classes):
                logits = tf.reshape(logits, (-1, 1))
                logits = tf.concat([tf.zeros_like(logits), logits], axis=1)
        return logits
