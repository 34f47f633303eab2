"""Networks by name: each takes the number of classes and the shape of an image and ends in a linear layer.

Layers are called as in PyTorch's twins, so that `layer.kernel` is the canonical ``layer.weight``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras

from sat_core.input_spec import InputSpec
from sat_tensorflow.models.head import put_head
from sat_tensorflow.models.linear import linear
from sat_tensorflow.models.preact_resnet18 import wide_preact_resnet18
from sat_tensorflow.models.resnet import resnet18, resnet50
from sat_tensorflow.models.small_cnn import small_cnn

MODELS: dict[str, Callable[[int, tuple[int, int, int]], keras.Model]] = {
    "small-cnn": small_cnn,
    "resnet18": resnet18,
    "wide-preact-resnet18": wide_preact_resnet18,
    "resnet50": resnet50,
    "linear": linear,
}
"""Name to a function of the number of classes and the shape `(h, w, c)` of an image."""


def build(description: Mapping[str, Any], dtype: str) -> tuple[keras.Model, keras.Model | None]:
    """Build the model that `description` names, with weights of type `dtype`; return it and its new head, or None."""
    # layers take their type from the process, where a user may have set a mixed policy
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        model = MODELS[description["model"]](description["classes"], InputSpec.from_dict(description).network_shape)
        return put_head(model, description["classes"]) if description.get("head") else (model, None)
    finally:
        keras.config.set_dtype_policy(before)
