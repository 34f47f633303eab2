"""The contract suite on a backend, and on wrong backends made from it."""

from __future__ import annotations

import numpy as np
import pytest

from sat_core.backend import Backend
from sat_core.errors import NotInstalledError
from sat_core.reference import ORACLES, NumpyBackend
from sat_core.reference.layers import Pass
from sat_core.testing import CHECKS, FAULTS, PARITY, Check, ContractError, backend_checks, samples, wrong_backend
from sat_core.testing.ignoring import IGNORED
from sat_core.testing.parity import option_row

# the fault, and the check that must find it
FINDS = {
    "attack in training mode": "attacks_follow_the_oracle",
    "no clamp": "attacks_stay_inside_and_touch_nothing",
    "ε 1 % too large": "attacks_stay_inside_and_touch_nothing",
    "loss not normalised by Σ w": "steps_follow_the_oracle",
    "BatchNorm epsilon off": "parity_logits_of_small_cnn",
    "features move under a head": "only_the_head_learns",
    "features learn under a head": "only_the_last_layer_learns",
    "weights touched by the attack": "attacks_stay_inside_and_touch_nothing",
    "statistics in another order": "statistics_are_those_of_the_logits",
    "scaling ignored": "images_are_scaled_in_front_of_the_network",
    "output ignored": "logits_are_found_in_outputs_of_other_kinds",
    "a multiply-add counted as 1": "costs_are_those_of_the_layers",
    "images in the type of the weights": "attacks_on_half_precision_stay_inside",
    **{fault: f"parity_{option_row(seen.option)}" for fault, seen in IGNORED.items()},
}


@pytest.mark.backend
@pytest.mark.parametrize("check", backend_checks(), ids=str)
def test_contract(check: Check, backend: Backend) -> None:
    check(backend)


@pytest.mark.backend
@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_backend_is_rejected(fault: str, backend: Backend) -> None:
    with pytest.raises(ContractError):
        CHECKS[FINDS[fault]](wrong_backend(backend, fault))


@pytest.mark.parametrize("check", [c for c in backend_checks() if c.name != "as_torch_module_agrees"], ids=str)
def test_the_numpy_reference_keeps_the_contract(check: Check) -> None:
    check(NumpyBackend())


def test_the_numpy_reference_has_no_torch_module() -> None:
    with pytest.raises(NotInstalledError):
        samples.build(NumpyBackend(), "linear").as_torch_module()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_numpy_reference_is_rejected(fault: str) -> None:
    with pytest.raises(ContractError):
        CHECKS[FINDS[fault]](wrong_backend(NumpyBackend(), fault))


@pytest.mark.parametrize("training", [False, True])
def test_gradients_of_the_numpy_reference_are_finite_differences(training: bool) -> None:
    """Gradients match along most directions; on some, a value crosses a ReLU's corner between the two points."""
    classifier, data, rng = samples.build(NumpyBackend(), "small-cnn"), samples.examples(), np.random.default_rng(0)
    point = {name: value.astype(np.float64) for name, value in classifier.state().items()}
    point["images"] = data.images.astype(np.float64)
    cotangent = rng.normal(size=(len(data), data.classes))
    here = Pass(point, training)
    gradients = {"images": classifier.forward(point["images"], here)[1](cotangent), **here.gradients}
    assert gradients.keys() == {name for name in point if "running_" not in name}
    ratios = []
    for _ in range(5):
        way = {name: rng.normal(size=v.shape) * ("running_" not in name) for name, v in point.items()}
        values = []
        for t in (1e-7, -1e-7):
            moved = {name: v + t * way[name] for name, v in point.items()}
            values.append(float(np.sum(cotangent * classifier.forward(moved["images"], Pass(moved, training))[0])))
        slope = sum(float(np.sum(g * way[name])) for name, g in gradients.items())
        ratios.append((values[0] - values[1]) / 2e-7 / slope)
    assert np.median(ratios) == pytest.approx(1, rel=1e-4)


def test_a_full_backend_is_held_to_every_check() -> None:
    assert backend_checks() == list(CHECKS.values())


def test_every_row_of_the_parity_table_is_held_to_the_oracle() -> None:
    rows = {f"parity_{name}" for name, row in PARITY.items() if {*row.models} <= {*NumpyBackend().models()}}
    assert rows <= CHECKS.keys()
    assert {*ORACLES} == {model for row in PARITY.values() for model in row.models}
