"""What the options of a training are in the plans of its steps: rates, weights, β, ε, averages, mixes and cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from toys import job, same_bytes

from sat_core.arm import run_arm
from sat_core.attack_spec import AttackSpec
from sat_core.batches import Planner
from sat_core.errors import Interrupted, SpecError
from sat_core.loss_spec import LossSpec
from sat_core.testing import samples

N, BATCH, STEPS, EPOCHS = 90, 16, 5, 4


def planner(share: float = 0.3, attack: dict[str, Any] | None = None, loss: Any = None, **training: Any) -> Planner:
    spec = samples.training(**{"batch_size": BATCH, "epochs": EPOCHS, "schedule": "constant", "lr": 0.4, **training})
    return Planner(samples.split(N, share), spec, AttackSpec(**(attack or {})), samples.SHAPE, loss=loss or LossSpec())


def joined(one: Planner, name: str) -> np.ndarray:
    """An array of the plans of all epochs, step by step."""
    return np.concatenate([one.epoch(epoch).arrays()[name] for epoch in range(EPOCHS)])


@pytest.mark.parametrize(("warmup", "steps"), [(0.0, 0), (1.5, 7.5), (2, 10), ("7steps", 7), ("1steps", 1), (9, 45)])
def test_the_rate_rises_to_that_of_the_schedule(warmup: float | str, steps: float) -> None:
    rates = joined(planner(warmup=warmup), "lr")
    expected = [0.4 * min(1, (step + 1) / steps) if steps else 0.4 for step in range(EPOCHS * STEPS)]
    np.testing.assert_allclose(rates, expected, rtol=1e-12)
    falling = planner(warmup=warmup, schedule="cosine")
    np.testing.assert_allclose(
        joined(falling, "lr"), joined(planner(schedule="cosine"), "lr") * rates / 0.4, rtol=1e-12
    )


def test_epsilon_rises_over_the_first_epochs() -> None:
    for warmup, steps in ((1.5, 7.5), ("7steps", 7)):
        expected = [min(1, (step + 1) / steps) for step in range(EPOCHS * STEPS)]
        np.testing.assert_allclose(joined(planner(attack={"warmup": warmup}), "strength"), expected, rtol=1e-12)
    assert planner().epoch(0).strength is None


def test_beta_is_a_number_or_a_line_from_the_first_to_the_last_step() -> None:
    line = joined(planner(loss=LossSpec(kind="trades", beta=(12, 6))), "beta")
    np.testing.assert_allclose(line, 12 - 6 * np.arange(EPOCHS * STEPS) / (EPOCHS * STEPS - 1), rtol=1e-12)
    assert set(joined(planner(loss=LossSpec(kind="trades", beta=2)), "beta")) == {2.0}
    assert planner().epoch(0).beta is None


def test_factors_of_an_average_are_those_of_its_definition() -> None:
    """Averaged by the factors, numbers in place of weights give what the definitions say."""
    rng = np.random.default_rng(0)
    values, swa = rng.normal(size=EPOCHS * STEPS), 0.0
    for value, decay in zip(values, joined(planner(averaging="swa:0.5"), "decay"), strict=True):
        swa = decay * swa + (1 - decay) * value
    assert swa == pytest.approx(values[[14, 19]].mean())
    ema = joined(planner(averaging="ema:0.5"), "decay")
    np.testing.assert_allclose(ema, [min(0.5, (1 + t) / (10 + t)) for t in range(EPOCHS * STEPS)], rtol=1e-12)
    # Until its first epoch is over, the average is the weights themselves.
    early = joined(planner(averaging="swa:0.5"), "decay")[:14]
    assert set(early[:10]) == {0.0}
    assert planner().epoch(0).decay is None


def test_weights_of_classes_are_factors_of_those_of_a_and_b() -> None:
    labels = np.array([0, 0, 0, 1, 2, 2])
    balanced = LossSpec(class_weights="balanced").weights_of(labels, 3)
    np.testing.assert_allclose(balanced, [2 / 3] * 3 + [2.0] + [1.0] * 2)
    assert balanced.sum() == pytest.approx(len(labels))
    listed = LossSpec(class_weights=[1, "1/2", 3]).weights_of(labels, 3)
    np.testing.assert_array_equal(listed, [1, 1, 1, 0.5, 3, 3])
    assert LossSpec().weights_of(labels, 3) is None
    with pytest.raises(SpecError, match=r"loss\.class_weights: expected 4 numbers, got 3"):
        LossSpec(class_weights=[1, 1, 1]).weights_of(labels, 4)
    factors = np.random.default_rng(0).uniform(0.5, 2, N).astype(np.float32)
    plan = attrs.evolve(planner(), factors=factors).epoch(1)
    np.testing.assert_array_equal(plan.weights, planner().epoch(1).weights * factors[plan.index])
    np.testing.assert_allclose(plan.totals, plan.weights.sum(1, dtype=np.float64))


def test_a_list_of_the_wrong_length_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"loss\.class_weights: expected 3 numbers, got 2"):
        job(tmp_path, keys={"loss.class_weights": [1, 2]}).check()


@pytest.mark.parametrize("mixing", ["mixup:0.7", "cutmix:0.7"])
def test_mixes_are_permutations_with_a_share_that_the_box_leaves(mixing: str) -> None:
    one = planner(mixing=mixing)
    shares = []
    for epoch in range(EPOCHS):
        mixes = one.epoch(epoch).mixes
        assert mixes is not None
        assert (np.sort(mixes.partner, axis=1) == np.arange(BATCH)).all()
        assert ((mixes.share >= 0) & (mixes.share <= 1)).all()
        shares.append(mixes.share)
        if mixes.box is not None:
            top, bottom, left, right = mixes.box.T
            height, width, _ = samples.SHAPE
            assert ((top >= 0) & (bottom <= height) & (left >= 0) & (right <= width)).all()
            np.testing.assert_allclose(mixes.share, 1 - (bottom - top) * (right - left) / (height * width))
    assert len(set(np.concatenate(shares).tolist())) > EPOCHS * STEPS // 2
    # They depend on the seed and the epoch alone: not on A, nor on what else is drawn.
    other = attrs.evolve(planner(0.8, mixing=mixing, augmentation="crop-flip")).epoch(2).mixes
    same, seeded = one.epoch(2).mixes, planner(mixing=mixing, seed=1).epoch(2).mixes
    assert other is not None
    assert same is not None
    assert seeded is not None
    np.testing.assert_array_equal(other.share, same.share)
    np.testing.assert_array_equal(other.partner, same.partner)
    assert not np.array_equal(seeded.share, same.share)


@pytest.mark.parametrize(
    ("attack", "loss", "training", "cost"),
    [
        ({}, "ce", {}, (4 * 7, 10)),
        ({"restarts": 3, "random_start": True}, "ce", {}, (4 * 21, 10)),
        ({"kind": "n-fgsm"}, "ce", {"micro_batches": 2}, (4, 10)),
        ({"kind": "free"}, "ce", {}, (0, 80)),
        ({"kind": "free", "replays": 3}, "ce", {}, (0, 30)),
        ({}, "trades", {}, (4 * 7, 14)),
        ({}, "mart", {"awp": 0.01}, (4 * 7, 24)),
    ],
)
def test_cost_of_a_step_with_four_members_of_ten(
    attack: dict[str, Any], loss: str, training: dict[str, Any], cost: tuple[int, int]
) -> None:
    one = planner(attack=attack, loss=LossSpec(kind=loss), **training)
    assert one.cost(4, 10) == cost
    # Without a member, only the passes of the replays are left.
    assert one.cost(0, 10) == (0, 10 * one.attack.replays)


WHOLE = {
    "losses": {
        "loss.kind": "trades",
        "loss.beta": [12, 6],
        "loss.label_smoothing": 0.1,
        "loss.class_weights": "balanced",
        "training.averaging": "ema:0.8",
        "training.warmup": 1.5,
        "training.clip_norm": 0.5,
        "training.micro_batches": 2,
        "attack.warmup": 2,
    },
    "free": {"attack.kind": "free", "attack.replays": 2, "training.averaging": "swa:0.5", "training.mixing": "mixup:1"},
    "mixes": {"training.mixing": "cutmix:1", "training.awp": 0.01, "attack.random_start": True, "attack.restarts": 2},
}


@pytest.mark.parametrize("name", WHOLE)
def test_stopped_anywhere_it_ends_with_the_same_bytes(tmp_path: Path, name: str) -> None:
    keys = {"subset.strategy": "random", "training.schedule": "step:13steps*0.5", **WHOLE[name]}
    results = run_arm(job(tmp_path / "whole" / "arm", keys=keys))
    assert results.spec["training"]["schedule"] == "step:13steps*0.5"
    broken, starts = tmp_path / "broken" / "arm", 0
    while not (broken / "results.json").exists():
        calls, starts = iter(range(10**6)), starts + 1
        try:
            run_arm(job(broken, keys=keys, stop=lambda calls=calls, n=2 + starts: next(calls) >= n))
        except Interrupted:
            assert starts < 100
    assert starts > 3
    same_bytes(tmp_path / "whole", tmp_path / "broken")
