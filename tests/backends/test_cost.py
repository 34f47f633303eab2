"""What networks of all kinds cost, measured by the backend: products by hand, and that nothing changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sat_core.backend import Backend, get_backend
from sat_core.network_cost import NetworkCost, network_cost
from sat_core.scaling import Scaling

pytestmark = pytest.mark.backend

SHAPE = (8, 8, 3)
# multiply-adds: of the layer on an image, and of the linear layer behind it
LAYERS = {
    "grouped": 36 * 6 * 9 + 216 * 5,
    "depthwise": 36 * 6 * 9 + 216 * 5,
    "transposed": 64 * 3 * 9 * 4 + 17 * 17 * 4 * 5,
    # queries, keys, values; products of 8 heads' numbers; output
    "attention": 3 * 64 * 4 * 4 + 2 * 64 * 64 * 4 + 64 * 4 * 4 + 256 * 5 + 64 * 3 * 4,
}


def torch_layers(kind: str) -> Any:
    from torch import nn

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.inner = nn.Conv2d(3, 4, 1), nn.MultiheadAttention(4, 2, batch_first=True)

        def forward(self, x: Any) -> Any:
            tokens = self.tokens(x).flatten(2).transpose(1, 2)
            return self.inner(tokens, tokens, tokens, need_weights=False)[0]

    first = {
        "grouped": lambda: nn.Conv2d(3, 6, 3, groups=3, bias=False),
        "depthwise": lambda: nn.Conv2d(3, 6, 3, groups=3),
        "transposed": lambda: nn.ConvTranspose2d(3, 4, 3, stride=2),
        "attention": Attention,
    }[kind]()
    return nn.Sequential(first, nn.Dropout(0.5), nn.Flatten(), nn.LazyLinear(5))


def keras_layers(kind: str) -> Any:
    import keras
    from keras import layers

    images = keras.Input(SHAPE)
    if kind == "attention":
        tokens = layers.Reshape((64, 4))(layers.Conv2D(4, 1)(images))
        x = layers.MultiHeadAttention(2, 2)(tokens, tokens)
    else:
        x = {
            "grouped": lambda: layers.Conv2D(6, 3, groups=3, use_bias=False),
            "depthwise": lambda: layers.DepthwiseConv2D(3, depth_multiplier=2),
            "transposed": lambda: layers.Conv2DTranspose(4, 3, strides=2),
        }[kind]()(images)
    return keras.Model(images, layers.Dense(5)(layers.Flatten()(layers.Dropout(0.5)(x))))


def measured(backend: Backend, kind: str) -> NetworkCost:
    native = torch_layers(kind) if backend.name == "torch" else keras_layers(kind)
    cost = backend.wrap(native, classes=5, image_shape=SHAPE).cost()
    assert cost is not None
    return cost


@pytest.mark.parametrize("kind", LAYERS)
def test_products_of_layers_of_others(backend: Backend, kind: str) -> None:
    cost = measured(backend, kind)
    assert cost.forward_flops == 2 * LAYERS[kind]
    # the linear layer keeps its input, and what is learned in front of it the image
    assert cost.activation_bytes >= 4 * (cost.features + 8 * 8 * 3)


@pytest.mark.parametrize(("shape", "gmac"), [((32, 32, 3), 1.82), ((32, 32, 1), 1.82)])
def test_the_papers_network_is_measured_as_published(backend: Backend, shape: Any, gmac: float) -> None:
    cost = backend.build("wide-preact-resnet18", classes=10, image_shape=shape).cost()
    expected = network_cost("wide-preact-resnet18", shape, 10)
    assert cost is not None
    assert expected is not None
    assert (cost.parameters, cost.forward_flops) == (expected.parameters, expected.forward_flops)
    assert round(cost.forward_flops / 2e9, 2) == gmac
    assert cost.parameters == 21_333_834 - 64 * 9 * (3 - shape[2])


def test_frozen_layers_and_scaled_images_count(backend: Backend) -> None:
    options: dict[str, Any] = {"classes": 5, "image_shape": SHAPE}
    classifier = backend.build("small-cnn", **options)
    whole = classifier.cost()
    assert whole is not None
    classifier.learn("head")
    assert classifier.cost() == whole
    larger = backend.wrap(
        backend.build("small-cnn", classes=5, image_shape=(16, 16, 3)).native, **options, scaling=Scaling(size=16)
    )
    expected = network_cost("small-cnn", (16, 16, 3), 5)
    cost = larger.cost()
    assert expected is not None
    assert cost is not None
    # scaling is two products: of rows (16 x 8) and of columns
    assert cost.forward_flops - expected.forward_flops == 2 * 3 * (8 * 8 * 16 + 16 * 8 * 16)
    assert cost.parameters == expected.parameters


def test_measuring_changes_nothing(backend: Backend) -> None:
    """Modes, flags and statistics stay, and numbers that are drawn afterwards are those that would have been."""
    native = torch_layers("grouped") if backend.name == "torch" else keras_layers("grouped")
    classifier = backend.wrap(native, classes=5, image_shape=SHAPE)
    images = np.random.default_rng(0).random((3, *SHAPE), np.float32)
    if backend.name == "torch":
        import torch

        native.train()
        native[0].weight.requires_grad_(False)
        torch.manual_seed(1)
        expected = torch.rand(3)
        torch.manual_seed(1)
        classifier.cost()
        assert torch.equal(torch.rand(3), expected)
        assert native.training
        assert [p.requires_grad for p in native.parameters()] == [False, True, True]
        assert all(p.grad is None for p in native.parameters())
    before, logits = classifier.state(), classifier.logits(images)
    first, second = classifier.cost(), classifier.cost()
    assert first == second
    assert all(np.array_equal(value, before[name]) for name, value in classifier.state().items())
    np.testing.assert_array_equal(classifier.logits(images), logits)


def test_half_precision_counts_as_float32() -> None:
    torch = pytest.importorskip("torch")
    backend = get_backend("torch", device="cpu")
    options: dict[str, Any] = {"classes": 5, "image_shape": SHAPE}
    native = torch_layers("grouped").to(torch.float64)
    native(torch.zeros(1, 3, 8, 8, dtype=torch.float64))
    double, single = backend.wrap(native, **options).cost(), backend.wrap(native.float(), **options).cost()
    assert double == single
