"""Residual networks as torchvision lays them out, fitted to our images."""

from __future__ import annotations

import keras
from keras import KerasTensor, layers

from sat_tensorflow.models.layers import CHANNELS, BatchNorm, convolution, inputs, normalised, pooled

WIDTHS = (64, 128, 256, 512)
"""Of the four stages; all but the first begin with stride 2."""


def resnet18(classes: int, image_shape: tuple[int, int, int]) -> keras.Model:
    """Make ResNet-18 for 32x32 images: a 3x3 stem of stride 1 without pooling. 11,173,962 weights at 10 classes."""
    images = inputs(image_shape)
    x = normalised(convolution(images, "conv1", 64), "bn1")
    for stage, width in enumerate(WIDTHS, 1):
        for i in range(2):
            x = _basic(x, f"layer{stage}.{i}", width, 2 if stage > 1 and i == 0 else 1)
    return _ended(images, x, classes)


def resnet50(classes: int, image_shape: tuple[int, int, int]) -> keras.Model:
    """Make ResNet-50 as torchvision lays it out (stride on the 3x3 convolution), with a new last layer."""
    images = inputs(image_shape)
    x = normalised(convolution(images, "conv1", 64, size=7, stride=2), "bn1")
    x = layers.ZeroPadding2D(1, CHANNELS)(x)  # behind a ReLU zeros are as good as -∞
    x = layers.MaxPooling2D(3, 2, data_format=CHANNELS)(x)
    for stage, (width, depth) in enumerate(zip(WIDTHS, (3, 4, 6, 3), strict=True), 1):
        for i in range(depth):
            x = _bottleneck(x, f"layer{stage}.{i}", width, 2 if stage > 1 and i == 0 else 1)
    return _ended(images, x, classes)


def _basic(x: KerasTensor, name: str, width: int, stride: int) -> KerasTensor:
    inner = normalised(convolution(x, f"{name}.conv1", width, stride=stride), f"{name}.bn1")
    inner = convolution(inner, f"{name}.conv2", width)
    return _joined(x, inner, name, "bn2", stride)


def _bottleneck(x: KerasTensor, name: str, width: int, stride: int) -> KerasTensor:
    inner = normalised(convolution(x, f"{name}.conv1", width, size=1), f"{name}.bn1")
    inner = normalised(convolution(inner, f"{name}.conv2", width, stride=stride), f"{name}.bn2")
    inner = convolution(inner, f"{name}.conv3", 4 * width, size=1)
    return _joined(x, inner, name, "bn3", stride)


def _joined(x: KerasTensor, inner: KerasTensor, name: str, last: str, stride: int) -> KerasTensor:
    inner = BatchNorm(name=f"{name}.{last}")(inner)
    # elsewhere x is added as it is; the authors' network for CIFAR has a convolution on every shortcut
    if x.shape != inner.shape:
        x = convolution(x, f"{name}.downsample.0", inner.shape[-1], size=1, stride=stride)
        x = BatchNorm(name=f"{name}.downsample.1")(x)
    return layers.ReLU()(layers.Add()([inner, x]))


def _ended(images: KerasTensor, x: KerasTensor, classes: int) -> keras.Model:
    return keras.Model(images, layers.Dense(classes, name="fc")(pooled(x)))
