"""The contract suite on a backend, and on wrong backends made from it."""

from __future__ import annotations

import pytest

from sat_core.backend import Backend
from sat_core.reference import LinearBackend
from sat_core.testing import CHECKS, FAULTS, Check, ContractError, backend_checks, wrong_backend

# the fault, and the check that must find it
FINDS = {
    "attack in training mode": "attacks_follow_the_oracle",
    "no clamp": "attacks_stay_inside_and_touch_nothing",
    "ε 1 % too large": "attacks_stay_inside_and_touch_nothing",
    "loss not normalised by Σ w": "steps_follow_the_oracle",
    "BatchNorm epsilon off": "logits_of_the_small_cnn",
    "weights touched by the attack": "attacks_stay_inside_and_touch_nothing",
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


@pytest.mark.parametrize("check", backend_checks(("linear",)), ids=str)
def test_the_numpy_reference_keeps_the_contract(check: Check) -> None:
    check(LinearBackend())


def test_a_wrong_step_of_the_numpy_reference_is_rejected() -> None:
    with pytest.raises(ContractError, match="weights"):
        CHECKS["steps_follow_the_oracle"](wrong_backend(LinearBackend(), "loss not normalised by Σ w"))


def test_a_full_backend_is_held_to_every_check() -> None:
    assert backend_checks() == list(CHECKS.values())
