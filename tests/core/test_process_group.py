"""Ranks of a group: shares of a batch, and a training that several ranks make as one would, here in threads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rank_threads import on_ranks
from toys import job, pgd_evaluator

from sat_core import checkpoint
from sat_core.arm import run_arm
from sat_core.arm_results import ArmResults
from sat_core.batches import Planner
from sat_core.epoch_plan import check_devices, joined
from sat_core.errors import Interrupted, SpecError
from sat_core.process_group import ALONE, Command
from sat_core.ranking import run_ranking
from sat_core.testing import samples


@pytest.mark.parametrize("size", [1, 2, 4, 8])
@pytest.mark.parametrize("share", [0.0, 0.03, 0.5, 1.0])
def test_shares_make_the_batch_and_members_are_dealt_evenly(size: int, share: float) -> None:
    training = samples.training(batch_size=16, augmentation="cifar")
    planner = Planner(samples.split(90, share), training, samples.attack(random_start=True), samples.SHAPE)
    plan = planner.epoch(0)
    shares = [plan.share(rank, size) for rank in range(size)]
    for name, whole in plan.arrays().items():
        parts = [each.arrays().get(name) for each in shares]
        if name in ("totals", "lr"):
            assert all(np.array_equal(part, whole) for part in parts)
        elif name == "members":
            np.testing.assert_array_equal(np.sum(parts, axis=0), whole)
            assert np.ptp(parts, axis=0).max() <= 1
        else:
            np.testing.assert_array_equal(joined(parts), whole)
    for each in shares:
        first = np.arange(each.batch_size) < each.members[:, None]
        np.testing.assert_array_equal(planner.split.members[each.index], first)
    assert np.allclose(sum(each.weights.sum(axis=1) for each in shares), plan.totals)


def test_batches_that_cannot_be_shared_are_refused() -> None:
    plan = samples.plans(24, 0.5, samples.training(), samples.attack())[0]
    with pytest.raises(SpecError, match=r"^training.batch_size: expected a multiple of the 3 devices, got 8$"):
        plan.share(0, 3)
    check_devices(samples.training(compile=True), samples.attack(), 1)
    check_devices(samples.training(batch_size=8), samples.attack(), 4)
    for training in (samples.training(batch_size=8, compile=True), samples.training(batch_size=9)):
        with pytest.raises(SpecError, match=r"^training\.(compile: expected false|batch_size: expected a multiple)"):
            check_devices(training, samples.attack(), 4)
    with pytest.raises(SpecError, match=r"^training\.micro_batches: expected a divisor of the 2 examples .* got 4$"):
        check_devices(samples.training(batch_size=8, micro_batches=4), samples.attack(), 4)


@pytest.mark.parametrize("record", ["snapshot", "online"])
@pytest.mark.parametrize("size", [2, 4])
def test_ranks_rank_and_train_as_one_process(size: int, record: str, tmp_path: Path) -> None:
    options = {"training.awp": 0.01, "training.averaging": "ema:0.9", "training.clip_norm": 0.5}
    keys = {"ranking.record": record, "ranking.epochs": 4, "training.precision": "float64", **options}
    alone = run_ranking(job(tmp_path / "one" / "ranking", keys=keys))
    together = on_ranks(size, tmp_path / "two", run_ranking, keys=keys)
    for name, scores in alone.scores.items():
        np.testing.assert_allclose(together.scores[name], scores, rtol=1e-9, atol=1e-9)
    expected = run_arm(job(tmp_path / "one" / "arm", keys=keys), alone)
    results: ArmResults = on_ranks(size, tmp_path / "two", keys=keys)
    assert results.devices == (size,)
    np.testing.assert_allclose(results.losses, expected.losses, rtol=1e-9)
    one, two = (checkpoint.read(tmp_path / name / "arm" / "checkpoint-best.safetensors") for name in ("one", "two"))
    for name, value in one.groups["model"].items():
        np.testing.assert_allclose(two.groups["model"][name], value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_stop_that_reaches_one_rank_is_for_all(rank: int, tmp_path: Path) -> None:
    """It is saved, and the training goes on with another number of ranks, of which the results speak."""
    keys = {"subset.size": 1.0, "training.precision": "float64"}
    expected = run_arm(job(tmp_path / "one", keys=keys))
    calls: list[None] = []

    def stop() -> bool:
        calls.append(None)
        return len(calls) > 9

    with pytest.raises(Interrupted):
        on_ranks(4, tmp_path / "two", keys=keys, told={rank: {"stop": stop}})
    results = on_ranks(2, tmp_path / "two", keys=keys)
    assert results.devices == (4, 2)
    assert any("4, then 2 devices" in line for line in results.warnings)
    np.testing.assert_allclose(results.losses, expected.losses, rtol=1e-9)


def test_a_finished_arm_needs_no_other_rank(tmp_path: Path) -> None:
    keys = {"subset.size": 1.0}
    run_arm(job(tmp_path / "arm", keys=keys))
    assert on_ranks(2, tmp_path, keys=keys).devices == (1,)


@pytest.mark.parametrize(
    ("images", "devices", "batch_norm", "says"),
    [
        (18, (2, 4), "global", ["trained on 2, then 4 devices, whose sums are rounded differently"]),
        (18, (2, 4), "local", ["trained on 2, then 4 devices, with BatchNorm on shares of another size"]),
        (42, (2,), "global", []),
    ],
    ids=["in training", "in training with local statistics", "in the evaluation"],
)
def test_devices_are_those_that_trained(
    images: int, devices: tuple[int, ...], batch_norm: str, says: list[str], tmp_path: Path
) -> None:
    """Broken off in the check of the third of four epochs, or in the report, and continued by four ranks."""
    keys = {"subset.size": 1.0, "training.batch_norm": batch_norm}

    def broken_off(*arguments: Any, **options: Any) -> Any:
        if len(arguments[2]) == images:
            raise Interrupted("stopped")
        return pgd_evaluator(*arguments, **options)

    with pytest.raises(Interrupted):
        on_ranks(2, tmp_path, keys=keys, evaluator=broken_off)
    results = on_ranks(4, tmp_path, keys=keys)
    assert results.devices == devices
    assert [line for line in results.warnings if line.startswith("trained on")] == says


def test_a_process_alone_is_a_group_of_one() -> None:
    ALONE.lead(Command.STEP, 3)
    assert ALONE.dealt([1, 2, 3], str) == ["1", "2", "3"]
    assert not ALONE.stop_wanted
