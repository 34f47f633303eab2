"""What networks cost: published sizes, arithmetic by hand, and memory."""

from __future__ import annotations

import pytest

from sat_core.errors import SpecError
from sat_core.network_cost import NetworkCost, head_cost, network_cost
from sat_core.reference import ORACLES, NumpyBackend


def cost(*arguments: object, **options: bool) -> NetworkCost:
    made = network_cost(*arguments, **options)  # type: ignore[arg-type]
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("model", "shape", "classes", "parameters", "gmac"),
    [
        ("wide-preact-resnet18", (32, 32, 3), 10, 21_333_834, 1.82),
        ("wide-preact-resnet18", (32, 32, 3), 100, 21_380_004, 1.82),
        ("resnet18", (32, 32, 3), 10, 11_173_962, 0.56),
        # torchvision's table: 25,557,032 parameters and 4.09 GMAC
        ("resnet50", (224, 224, 3), 1000, 25_557_032, 4.09),
        ("resnet50", (64, 64, 3), 200, 23_917_832, 0.33),
    ],
)
def test_networks_have_their_published_size(
    model: str, shape: tuple[int, int, int], classes: int, parameters: int, gmac: float
) -> None:
    made = cost(model, shape, classes)
    assert made.parameters == parameters
    assert round(made.forward_flops / 2e9, 2) == gmac


def test_a_small_network_by_hand() -> None:
    made = cost("small-cnn", (5, 4, 2), 3)
    # strides 1, 2, 2: 5x4, 3x2 and 2x1 pixels
    pixels, widths = (20, 6, 2), (2, 32, 64, 128)
    products = sum(n * a * b * 9 for n, a, b in zip(pixels, widths, widths[1:], strict=False)) + 128 * 3
    assert made.forward_flops == 2 * products
    # the image; of each block what BatchNorm takes and what ReLU gives; the features
    assert made.activation_bytes == 4 * (20 * 2 + 2 * (20 * 32 + 6 * 64 + 2 * 128) + 128)
    assert made.features == 128
    assert (made.gradient_flops, made.step_flops) == (4 * products, 6 * products)


def test_softmax_regression_by_hand() -> None:
    made = cost("linear", (2, 3, 1), 4)
    assert made == NetworkCost(parameters=28, forward_flops=48, activation_bytes=24, features=6)


def test_a_head_comes_in_place_of_the_last_layer() -> None:
    whole, last = cost("small-cnn", (8, 8, 1), 7, head=True), cost("small-cnn", (8, 8, 1), 7)
    head = head_cost(128, 7)
    assert head.parameters == 128 * 129 + 7 * 129
    assert whole.parameters == last.parameters + 128 * 129
    assert whole.forward_flops == last.forward_flops + 2 * 128 * 128
    assert whole.forward_flops - head.forward_flops == last.forward_flops - 2 * 128 * 7


def test_every_network_of_ours_has_a_cost_and_no_other() -> None:
    assert {*ORACLES} == {
        name for name in (*ORACLES, "resnet34", "timm:resnet18", "") if network_cost(name, (8, 8, 1), 3)
    }


def test_parameters_are_those_of_the_reference() -> None:
    backend = NumpyBackend()
    for name in backend.models():
        state = backend.build(name, classes=7, image_shape=(6, 5, 3)).state()
        assert cost(name, (6, 5, 3), 7).parameters == sum(v.size for k, v in state.items() if "running" not in k)


def test_memory_of_a_training_step() -> None:
    made = NetworkCost(parameters=1000, forward_flops=1, activation_bytes=40)
    # weights, gradients and momentum of 4 bytes, activations of a batch
    assert made.training_bytes(10) == 1000 * 12 + 400
    assert made.training_bytes(10, "tf32") == made.training_bytes(10)
    assert made.training_bytes(10, "float64") == 2 * made.training_bytes(10)
    assert made.training_bytes(10, "fp16") == made.training_bytes(10, "bf16") == 1000 * 14 + 200
    assert made.training_bytes(10, optimizer="adamw") == 1000 * 16 + 400
    with pytest.raises(SpecError, match=r"training\.precision: expected one of .*, got 'auto'"):
        made.training_bytes(10, "auto")
    with pytest.raises(SpecError, match=r"training\.optimizer: expected one of sgd, adamw, got 'lion'"):
        made.training_bytes(10, optimizer="lion")
