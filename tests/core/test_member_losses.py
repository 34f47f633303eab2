"""Losses of members of A: gradients by hand are finite differences, and values are those of their papers."""

from __future__ import annotations

import numpy as np
import pytest

from sat_core.errors import SpecError
from sat_core.functions import PerBackend
from sat_core.loss_spec import LossSpec
from sat_core.member_losses import LOSSES
from sat_core.reference.member_losses import member_losses

OURS = ("ce", "trades", "mart", "alp")
RNG = np.random.default_rng(0)
ADVERSARIAL, CLEAN = RNG.normal(size=(2, 6, 5))
LABELS = RNG.integers(0, 5, 6)
TARGETS = np.eye(5)[LABELS]


@pytest.mark.parametrize("loss", OURS)
def test_gradients_are_finite_differences(loss: str) -> None:
    smoothed = TARGETS if loss == "mart" else 0.8 * TARGETS + 0.04
    _, *gradients = member_losses(loss, ADVERSARIAL, CLEAN, smoothed, 2.0)
    for place, gradient in enumerate(gradients):
        for at in np.ndindex(*CLEAN.shape):
            ends = []
            for way in (1e-6, -1e-6):
                logits = [ADVERSARIAL.copy(), CLEAN.copy()]
                logits[place][at] += way
                ends.append(member_losses(loss, logits[0], logits[1], smoothed, 2.0)[0].sum())
            assert gradient[at] == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-7)


def test_values_are_those_of_the_papers() -> None:
    p, q = (np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) for z in (CLEAN, ADVERSARIAL))
    rows = np.arange(6)
    natural, robust = -np.log(p[rows, LABELS]), -np.log(q[rows, LABELS])
    apart = (p * np.log(p / q)).sum(axis=1)
    other = np.where(TARGETS == 1, -1, q).max(axis=1)
    expected = {
        "ce": robust,
        "trades": natural + 3 * apart,
        "mart": robust - np.log(1 - other) + 3 * apart * (1 - p[rows, LABELS]),
        "alp": (natural + robust) / 2 + 3 * ((CLEAN - ADVERSARIAL) ** 2).mean(axis=1),
    }
    for loss, values in expected.items():
        np.testing.assert_allclose(member_losses(loss, ADVERSARIAL, CLEAN, TARGETS, 3.0)[0], values, rtol=1e-9)


def test_losses_of_certain_predictions_are_finite() -> None:
    certain = 200 * np.eye(5)
    for loss in OURS:
        for adversarial, clean in ((certain, certain[::-1].copy()), (certain[::-1].copy(), certain)):
            losses, *gradients = member_losses(loss, adversarial, clean, np.eye(5), 6.0)
            assert np.isfinite(losses).all(), loss
            assert np.isfinite(gradients).all(), loss


def test_beta_is_the_losses_own_unless_it_is_given() -> None:
    assert [LossSpec(kind=kind).beta for kind in OURS] == [0.0, 6.0, 6.0, 0.5]
    assert LossSpec(kind="trades", beta=[12, "6"]).betas == (12.0, 6.0)
    assert LossSpec(kind="mart", beta=0).betas == (0.0, 0.0)
    with pytest.raises(SpecError, match=r"^loss\.beta: 'ce' has no second term"):
        LossSpec(beta=6.0)


def test_a_backend_without_a_function_is_named() -> None:
    class Mine(PerBackend):
        kind, name = "loss", "mine"
        functions = {"torch": "sat_core.version:NONE", "numpy": len}  # noqa: RUF012

    assert Mine().function("numpy") is len
    with pytest.raises(SpecError, match=r"^loss 'mine': has no function for the backend 'jax', only for: torch, numpy"):
        Mine().function("jax")
    with pytest.raises(SpecError, match=r"^loss 'mine': cannot import its function 'sat_core.version:NONE'"):
        Mine().function("torch")
    assert {*OURS} <= {*LOSSES}
