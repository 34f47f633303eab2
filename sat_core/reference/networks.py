"""The networks that backends offer, in numpy: the oracle of their logits and gradients."""

from __future__ import annotations

from collections.abc import Callable

from sat_core.reference.layers import (
    Layer,
    add,
    chain,
    convolution,
    flatten,
    linear,
    max_pool,
    norm,
    pixel_mean,
    relu,
)

Shape = tuple[int, ...]

STRIDES = (1, 2, 2)
WIDTHS = (32, 64, 128)
"""Of the small CNN's convolutions."""
WIDE_PREACT_BLOCKS = (
    (64, 128, 1),
    (128, 128, 1),
    (128, 256, 2),
    (256, 256, 1),
    (256, 512, 2),
    (512, 512, 1),
    (512, 512, 2),
    (512, 512, 1),
)
"""(channels in, channels out, stride) of each block of the wide PreAct-ResNet-18 (recipe, section 1.0)."""

HEAD = linear("fc")
"""The last layer of every network."""
NEW_HEAD = chain(linear("fc.hidden"), relu, linear("fc.out"))
"""The head that a transfer trains in its place."""


def small_cnn() -> Layer:
    """Make the small CNN: three times convolution 3x3, BatchNorm, ReLU; mean over pixels."""
    layers = (layer for i, s in enumerate(STRIDES, 1) for layer in (convolution(f"conv{i}", s), norm(f"bn{i}"), relu))
    return chain(*layers, pixel_mean)


def basic(name: str, stride: int) -> Layer:
    """Make the inner part of a basic block: 3x3, 3x3."""
    last = chain(convolution(f"{name}.conv2"), norm(f"{name}.bn2"))
    return chain(convolution(f"{name}.conv1", stride), norm(f"{name}.bn1"), relu, last)


def bottleneck(name: str, stride: int) -> Layer:
    """Make the inner part of a bottleneck: 1x1, 3x3 with the stride, 1x1."""
    first = chain(convolution(f"{name}.conv1"), norm(f"{name}.bn1"), relu)
    last = chain(convolution(f"{name}.conv3"), norm(f"{name}.bn3"))
    return chain(first, convolution(f"{name}.conv2", stride), norm(f"{name}.bn2"), relu, last)


def resnet(stem: Layer, inner: Callable[[str, int], Layer], depths: tuple[int, ...]) -> Layer:
    """Make a residual network as torchvision does: four stages, the last three of which halve the image.

    A stage begins with a projection where sizes or widths change.
    """
    blocks = []
    for stage, depth in enumerate(depths, 1):
        for i in range(depth):
            name, stride = f"layer{stage}.{i}", 2 if stage > 1 and i == 0 else 1
            # The first bottleneck keeps the size of the image but makes four times as many channels.
            projected = i == 0 and (stage > 1 or inner is bottleneck)
            ends = (convolution(f"{name}.downsample.0", stride), norm(f"{name}.downsample.1")) if projected else ()
            blocks += [add(inner(name, stride), chain(*ends)), relu]
    return chain(stem, *blocks, pixel_mean)


def wide_preact_resnet18() -> Layer:
    """Make the authors' network (recipe, section 1.0).

    Eight blocks of BatchNorm, ReLU, 3x3 twice, plus a 1x1 convolution of the raw input; then BatchNorm and ReLU.
    """
    blocks = []
    for i in range(8):  # written out apart from the table that backends read, so that a wrong table shows
        name, stride = f"blocks.{i}", 2 if i in (2, 4, 6) else 1
        first = chain(norm(f"{name}.bn1"), relu, convolution(f"{name}.conv1", stride))
        last = chain(norm(f"{name}.bn2"), relu, convolution(f"{name}.conv2"))
        blocks.append(add(chain(first, last), convolution(f"{name}.shortcut", stride)))
    return chain(convolution("conv"), *blocks, norm("bn"), relu, pixel_mean)


ORACLES: dict[str, Layer] = {
    "linear": flatten,
    "small-cnn": small_cnn(),
    "resnet18": resnet(chain(convolution("conv1"), norm("bn1"), relu), basic, (2, 2, 2, 2)),
    "wide-preact-resnet18": wide_preact_resnet18(),
    "resnet50": resnet(chain(convolution("conv1", 2), norm("bn1"), relu, max_pool), bottleneck, (3, 4, 6, 3)),
}
"""Name to the network from normalised images `(n, c, h, w)` to features; `HEAD` makes logits of them."""


def _linear_shapes(classes: int, image_shape: tuple[int, int, int]) -> dict[str, Shape]:
    h, w, c = image_shape
    return {"fc.weight": (classes, h * w * c), "fc.bias": (classes,)}


def _small_cnn_shapes(classes: int, image_shape: tuple[int, int, int]) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {}
    for i, (before, width) in enumerate(zip((image_shape[2], *WIDTHS), WIDTHS, strict=False), 1):
        shapes[f"conv{i}.weight"] = (width, before, 3, 3)
        shapes |= {f"bn{i}.{leaf}": (width,) for leaf in ("weight", "bias", "running_mean", "running_var")}
    return shapes | {"fc.weight": (classes, WIDTHS[-1]), "fc.bias": (classes,)}


SHAPES: dict[str, Callable[[int, tuple[int, int, int]], dict[str, Shape]]] = {
    "linear": _linear_shapes,
    "small-cnn": _small_cnn_shapes,
}
"""Names and shapes of the weights of the models that the numpy reference itself can build."""


def head_shapes(shapes: dict[str, Shape]) -> dict[str, Shape]:
    """Return `shapes` with `NEW_HEAD` in place of `HEAD`."""
    classes, width = shapes["fc.weight"]
    hidden = {"fc.hidden.weight": (width, width), "fc.hidden.bias": (width,)}
    out = {"fc.out.weight": (classes, width), "fc.out.bias": (classes,)}
    return {name: shape for name, shape in shapes.items() if not name.startswith("fc.")} | hidden | out
