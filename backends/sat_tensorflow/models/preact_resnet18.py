"""The authors' network for CIFAR: a pre-activation ResNet-18 with wide stages (recipe, section 1.0)."""

from __future__ import annotations

import keras
from keras import KerasTensor, layers

from sat_core.reference.networks import WIDE_PREACT_BLOCKS as BLOCKS
from sat_tensorflow.models.layers import convolution, inputs, normalised, pooled


def wide_preact_resnet18(classes: int, image_shape: tuple[int, int, int]) -> keras.Model:
    """Make the network: 21,333,834 weights at 10 classes and 21,380,004 at 100."""
    images = inputs(image_shape)
    x = convolution(images, "conv", BLOCKS[0][0])
    for i, (_, width, stride) in enumerate(BLOCKS):
        x = _block(x, f"blocks.{i}", width, stride)
    x = pooled(normalised(x, "bn"))
    return keras.Model(images, layers.Dense(classes, name="fc")(x))


def _block(x: KerasTensor, name: str, width: int, stride: int) -> KerasTensor:
    """BatchNorm, ReLU, 3x3 twice, plus a bare 1x1 convolution of the raw input, even where shapes match."""
    inner = convolution(normalised(x, f"{name}.bn1"), f"{name}.conv1", width, stride=stride)
    inner = convolution(normalised(inner, f"{name}.bn2"), f"{name}.conv2", width)
    return layers.Add()([inner, convolution(x, f"{name}.shortcut", width, size=1, stride=stride)])
