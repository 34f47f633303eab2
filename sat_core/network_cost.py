"""What a network costs, from the shapes of its layers: weights, FLOPs, and what a training step keeps in memory.

A multiply-add counts as 2 FLOPs, and only products count: those of convolutions and of linear layers, as in papers and
in torchvision's tables. BatchNorm, ReLU, pooling and losses are left out; in the networks here they are about 1 %.
Backends measure the same of any network, see `sat_core.classifier.Classifier.cost`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import final

import attrs

from sat_core.errors import SpecError
from sat_core.precision import OF_NETWORK
from sat_core.reference.networks import STRIDES, WIDE_PREACT_BLOCKS, WIDTHS

GRADIENT, STEP = 2, 3
"""Forward passes that a gradient over the images costs, which is a step of an attack, and that a training step costs. A
backward pass to the images costs as much as a forward pass, and one to the weights as much again."""
_FLOAT = 4
_OF_OPTIMIZER = {"sgd": 1, "adamw": 2}
"""Numbers that an optimiser keeps for each weight: the momentum, or the two moments."""
_RESNET_WIDTHS = (64, 128, 256, 512)


@final
@attrs.frozen(kw_only=True)
class NetworkCost:
    """What one image costs in a network, and the network itself.

    Attributes:
        parameters: Number of weights that can be learned; running statistics of BatchNorm are none.
        forward_flops: FLOPs of a forward pass of one image, a multiply-add as 2.
        activation_bytes: What a training step keeps of one image for the backward pass, in bytes, in float32: each
            input of a layer with weights and each output of a ReLU, once, and the places of the maxima of a pooling.
            A framework may keep less (layers that are recomputed or fused) or more (padded copies).
        features: Width of what the last layer takes; 0 where that is not known.
    """

    parameters: int
    forward_flops: int
    activation_bytes: int
    features: int = 0

    @property
    def gradient_flops(self) -> int:
        """FLOPs of one gradient over one image, such as a step of an attack: 2 forward passes."""
        return GRADIENT * self.forward_flops

    @property
    def step_flops(self) -> int:
        """FLOPs of one image in a training step: 3 forward passes."""
        return STEP * self.forward_flops

    def training_bytes(self, batch_size: int, precision: str = "float32", optimizer: str = "sgd") -> int:
        """Return the memory of a training step in bytes: weights, gradients, the optimiser's numbers, activations.

        What a framework needs itself, workspace of convolutions and the data set come on top; on a GPU that is half a
        gigabyte and more. An attack keeps no more than a step.

        Args:
            batch_size: Images of a batch on one device.
            precision: As in training.precision; in half precision activations take half, and a copy of the weights is
                kept beside those in float32.
            optimizer: As in training.optimizer.

        Raises:
            SpecError: There is no such precision or optimizer.

        >>> NetworkCost(parameters=10, forward_flops=20, activation_bytes=100).training_bytes(4, "bf16")
        340
        """
        if precision not in OF_NETWORK:
            raise SpecError(f"training.precision: expected one of {', '.join(OF_NETWORK)}, got {precision!r}")
        if optimizer not in _OF_OPTIMIZER:
            raise SpecError(f"training.optimizer: expected one of {', '.join(_OF_OPTIMIZER)}, got {optimizer!r}")
        computes = OF_NETWORK[precision]
        half, double = computes in ("float16", "bfloat16"), computes == "float64"
        per_weight = (2 + _OF_OPTIMIZER[optimizer]) * _FLOAT * (2 if double else 1) + (_FLOAT // 2 if half else 0)
        activations = batch_size * self.activation_bytes
        return self.parameters * per_weight + (activations // 2 if half else activations * (2 if double else 1))

    def gradient_bytes(self, images: int) -> int:
        """Return the memory of gradients over so many images at once in bytes, as in an evaluation, in float32.

        >>> NetworkCost(parameters=10, forward_flops=20, activation_bytes=100).gradient_bytes(4)
        440
        """
        return _FLOAT * self.parameters + images * self.activation_bytes


def network_cost(
    model: str, image_shape: tuple[int, int, int], classes: int, *, head: bool = False
) -> NetworkCost | None:
    """Return the cost of a network that the backends offer by name, from its layers' shapes alone.

    Args:
        model: As in ``model.name``.
        image_shape: `(h, w, c)` of what the network takes.
        classes: Number of logits.
        head: Whether it ends in the head of a transfer, see `sat_core.classifier.Classifier.with_head`.

    Returns:
        The cost; None for a network that is not one of ours, which a backend can measure.

    >>> cost = network_cost("wide-preact-resnet18", (32, 32, 3), 10)
    >>> cost.parameters, f"{cost.forward_flops / 2e9:.2f} GMAC", f"{cost.activation_bytes / 2**20:.1f} MiB"
    (21333834, '1.82 GMAC', '7.8 MiB')
    """
    if model not in NETWORKS:
        return None
    h, w, c = image_shape
    count = _Count()
    features = NETWORKS[model](count, _Tensor((c, h, w)))
    if head:
        features = count.relu(count.linear(features, features.shape[0]))
    count.linear(features, classes)
    return count.cost(features.shape[0])


def head_cost(features: int, classes: int) -> NetworkCost:
    """Return the cost of the head of a transfer alone: a hidden layer, ReLU and a linear layer (recipe, section 1.4).

    Args:
        features: Width of what it takes, and of its hidden layer.
        classes: Number of logits.
    """
    count = _Count()
    count.linear(count.relu(count.linear(_Tensor((features,)), features)), classes)
    return count.cost(features)


@final
class _Tensor:
    """What of one image is between two layers: `(c, h, w)` or `(d,)`, and whether the backward pass needs it."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.kept = False


@final
class _Count:
    """Adds up what layers cost while they are called on shapes."""

    def __init__(self) -> None:
        self.parameters = self.products = self.kept = 0

    def cost(self, features: int) -> NetworkCost:
        return NetworkCost(
            parameters=self.parameters,
            forward_flops=2 * self.products,
            activation_bytes=_FLOAT * self.kept,
            features=features,
        )

    def convolution(self, x: _Tensor, width: int, size: int = 3, stride: int = 1) -> _Tensor:
        """Of an odd size, without bias, with size // 2 zeros on every side."""
        self._keep(x)
        c, h, w = x.shape
        y = _Tensor((width, -(-h // stride), -(-w // stride)))
        self.parameters += width * c * size**2
        self.products += math.prod(y.shape) * c * size**2
        return y

    def norm(self, x: _Tensor) -> _Tensor:
        self._keep(x)
        self.parameters += 2 * x.shape[0]
        return _Tensor(x.shape)

    def relu(self, x: _Tensor) -> _Tensor:
        y = _Tensor(x.shape)
        self._keep(y)
        return y

    def norm_relu(self, x: _Tensor) -> _Tensor:
        return self.relu(self.norm(x))

    def max_pool(self, x: _Tensor) -> _Tensor:
        """Of 3x3 with stride 2 and padding 1; a place is an integer of 8 bytes."""
        self._keep(x)
        c, h, w = x.shape
        y = _Tensor((c, -(-h // 2), -(-w // 2)))
        self.kept += 2 * math.prod(y.shape)
        return y

    def linear(self, x: _Tensor, width: int) -> _Tensor:
        self._keep(x)
        self.parameters += width * (x.shape[0] + 1)
        self.products += width * x.shape[0]
        return _Tensor((width,))

    def _keep(self, x: _Tensor) -> None:
        if not x.kept:
            self.kept += math.prod(x.shape)
            x.kept = True


def _pixel_mean(x: _Tensor) -> _Tensor:
    return _Tensor(x.shape[:1])


def _linear(count: _Count, x: _Tensor) -> _Tensor:
    return _Tensor((math.prod(x.shape),))


def _small_cnn(count: _Count, x: _Tensor) -> _Tensor:
    for width, stride in zip(WIDTHS, STRIDES, strict=True):
        x = count.norm_relu(count.convolution(x, width, stride=stride))
    return _pixel_mean(x)


def _wide_preact_resnet18(count: _Count, x: _Tensor) -> _Tensor:
    x = count.convolution(x, WIDE_PREACT_BLOCKS[0][0])
    for _, width, stride in WIDE_PREACT_BLOCKS:
        inner = count.convolution(count.norm_relu(x), width, stride=stride)
        inner = count.convolution(count.norm_relu(inner), width)
        count.convolution(x, width, size=1, stride=stride)
        x = _Tensor(inner.shape)  # the sum of both
    return _pixel_mean(count.norm_relu(x))


def _resnet18(count: _Count, x: _Tensor) -> _Tensor:
    x = count.norm_relu(count.convolution(x, 64))
    for stage, width in enumerate(_RESNET_WIDTHS):
        for i in range(2):
            stride = 2 if stage and i == 0 else 1
            inner = count.norm_relu(count.convolution(x, width, stride=stride))
            x = _joined(count, x, count.convolution(inner, width), stride)
    return _pixel_mean(x)


def _resnet50(count: _Count, x: _Tensor) -> _Tensor:
    x = count.max_pool(count.norm_relu(count.convolution(x, 64, size=7, stride=2)))
    for stage, (width, depth) in enumerate(zip(_RESNET_WIDTHS, (3, 4, 6, 3), strict=True)):
        for i in range(depth):
            stride = 2 if stage and i == 0 else 1
            inner = count.norm_relu(count.convolution(x, width, size=1))
            inner = count.norm_relu(count.convolution(inner, width, stride=stride))
            x = _joined(count, x, count.convolution(inner, 4 * width, size=1), stride)
    return _pixel_mean(x)


def _joined(count: _Count, x: _Tensor, inner: _Tensor, stride: int) -> _Tensor:
    """BatchNorm of the inner part, a projection of `x` where sizes or widths change, ReLU of the sum."""
    count.norm(inner)
    if x.shape != inner.shape:
        count.norm(count.convolution(x, inner.shape[0], size=1, stride=stride))
    return count.relu(inner)


NETWORKS: dict[str, Callable[[_Count, _Tensor], _Tensor]] = {
    "linear": _linear,
    "small-cnn": _small_cnn,
    "resnet18": _resnet18,
    "wide-preact-resnet18": _wide_preact_resnet18,
    "resnet50": _resnet50,
}
"""Name to the layers below the last one."""
