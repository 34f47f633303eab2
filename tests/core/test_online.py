"""Online selection: which images of each batch are members, and arms that are trained so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from rank_threads import Table, ThreadGroup, on_ranks
from toys import job, same_bytes, toy

from sat_core.arm import run_arm
from sat_core.batches import Planner
from sat_core.epoch_plan import check_devices
from sat_core.errors import Interrupted, SpecError
from sat_core.loss_spec import LossSpec
from sat_core.ranking import needs_ranking
from sat_core.sections import SubsetSpec
from sat_core.selection import OnlineHardest
from sat_core.splits import Split, make_split
from sat_core.step import AdversarialStep
from sat_core.testing import samples

ONLINE = ("online-random", "online-hardest", "online-boundary")


def split(strategy: str, size: int | float = 0.3, seed: int = 0) -> Split:
    return make_split(SubsetSpec(strategy=strategy, size=size, seed=seed), "balanced", toy())


def planner(strategy: str, size: int | float = 0.3, seed: int = 0, **changes: Any) -> Planner:
    training = samples.training(batch_size=16, augmentation="crop-flip", **changes)
    return Planner(split(strategy, size, seed), training, samples.attack(random_start=True), (6, 6, 1))


@pytest.mark.parametrize("strategy", ONLINE)
@pytest.mark.parametrize("batches", ["random", "stratified"])
def test_every_batch_has_its_share_of_members(strategy: str, batches: str) -> None:
    one = planner(strategy, batches=batches)
    plan = one.epoch(1)
    # |A| = 27 of N = 90, n = 16: the batches end at 4.8, 9.6, 14.4, 19.2 and 24 members.
    assert plan.members.tolist() == [4, 5, 5, 5, 5]
    assert plan.online == strategy.removeprefix("online-").replace("random", "")
    # w_A = |B|/|A| = 63/27 for the members, which come first in the step.
    for weights, members in zip(plan.weights, plan.members, strict=True):
        np.testing.assert_allclose(weights, [63 / 27] * members + [1.0] * (16 - members), rtol=1e-6)
    assert len(np.unique(plan.index)) == plan.index.size


def test_random_members_follow_from_the_seed_of_the_subset_and_the_epoch() -> None:
    def members(plan: Any) -> list[list[int]]:
        return [sorted(index[:m].tolist()) for index, m in zip(plan.index, plan.members, strict=True)]

    one = planner("online-random")
    assert members(one.epoch(0)) == members(planner("online-random").epoch(0))
    # With another order of the batches, the same places are drawn in each.
    assert members(one.epoch(0)) != members(planner("online-random", seed=1).epoch(0))
    places = [
        [
            np.flatnonzero(np.isin(plain, chosen)).tolist()
            for plain, chosen in zip(looks.index, members(plan), strict=True)
        ]
        for plan, looks in ((one.epoch(e), planner("online-hardest").epoch(e)) for e in (0, 1))
    ]
    assert places[0] != places[1]
    # Drawn, not the first ones or the last ones of a batch.
    assert not any(place in ([*range(len(place))], [*range(16 - len(place), 16)]) for place in places[0])


def test_images_keep_batches_crops_and_starts_of_other_arms() -> None:
    fixed, looks = planner("random").epoch(0), planner("online-hardest").epoch(0)
    for strategy, seed in (("random", 0), ("online-random", 0), ("online-random", 1)):
        plan = planner(strategy, seed=seed).epoch(0)
        for step in range(plan.steps):
            one, other = np.argsort(plan.index[step]), np.argsort(looks.index[step])
            np.testing.assert_array_equal(plan.index[step][one], looks.index[step][other])
            assert plan.moves is not None
            assert looks.moves is not None
            np.testing.assert_array_equal(plan.moves.integers[step][one], looks.moves.integers[step][other])
            assert plan.keys is not None
            assert looks.keys is not None
            np.testing.assert_array_equal(plan.keys[step][one], looks.keys[step][other])
    # The step puts the members first; the plan leaves the batch as it was drawn.
    assert fixed.index.tolist() != looks.index.tolist()
    np.testing.assert_array_equal(looks.index.ravel(), planner("online-hardest")._order(0))


@pytest.mark.parametrize("strategy", ONLINE)
def test_baselines_have_fixed_members(strategy: str) -> None:
    for size, members in ((0.0, 0), (1.0, 90)):
        baseline = split(strategy, size)
        assert (baseline.online, baseline.size, int(baseline.members.sum())) == ("", members, members)
        assert baseline.weights == (1.0, 1.0)
    half = split(strategy, 0.5)
    assert (half.size, half.members.any(), half.summary().share) == (45, False, 0.5)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"subset.kind": "classes"}, r"subset.kind: expected \"examples\" with 'online-hardest', got 'classes'"),
        ({"subset.rerank": 2}, r"subset.rerank: expected 0 with 'online-hardest', got 2"),
        ({"loss.class_weights": "balanced"}, r"loss.class_weights: expected \"none\" with 'online-hardest', got"),
    ],
)
def test_what_has_no_meaning_online_is_refused(tmp_path: Path, keys: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        job(tmp_path, keys={"subset.strategy": "online-hardest", **keys})


def test_members_that_are_drawn_may_have_class_weights_and_several_devices(tmp_path: Path) -> None:
    here = job(tmp_path, keys={"subset.strategy": "online-random", "loss.class_weights": [1.0, 2.0, 3.0]})
    plan = here.planner(split("online-random")).epoch(0)
    factors = np.array([1.0, 2.0, 3.0])[here.data.train.labels[plan.index]]
    of_a = np.where(np.arange(16) < plan.members[:, None], 63 / 27, 1.0)
    np.testing.assert_allclose(plan.weights, factors * of_a, rtol=1e-6)
    check_devices(here.spec.training, here.spec.attack, 2, here.spec.subset)
    for strategy in ("online-hardest", "online-boundary"):
        subset = attrs.evolve(here.spec.subset, strategy=strategy)
        check_devices(here.spec.training, here.spec.attack, 1, subset)
        with pytest.raises(SpecError, match=f"subset.strategy: '{strategy}' trains on one device, got 2"):
            check_devices(here.spec.training, here.spec.attack, 2, subset)


def test_several_ranks_share_members_that_are_drawn_and_no_others(tmp_path: Path) -> None:
    keys = {"subset.strategy": "online-random", "training.precision": "float64", "training.epochs": 2}
    alone = run_arm(job(tmp_path / "one", keys=keys))
    together = on_ranks(2, tmp_path / "two", keys=keys)
    np.testing.assert_allclose(together.losses, alone.losses, rtol=1e-9)
    assert together.split == alone.split
    here = job(tmp_path, keys={"subset.strategy": "online-boundary"}, group=ThreadGroup(0, Table(2)))
    with pytest.raises(SpecError, match=r"subset\.strategy: 'online-boundary' trains on one device, got 2"):
        here.check()


def test_a_way_of_choosing_that_no_backend_knows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OnlineHardest, "online", "loudest")
    with pytest.raises(SpecError, match="has each batch choose by 'loudest'; backends know random, hardest, boundary"):
        job(tmp_path, keys={"subset.strategy": "online-hardest"})


def test_a_loop_of_ones_own_needs_fixed_members_and_settings_that_fit_together() -> None:
    class Step(AdversarialStep):
        backend = "numpy"
        __call__ = mix = losses = AdversarialStep.loss  # type: ignore[assignment]

    moving = attrs.evolve(split("random"), rerank=2)
    plain, mart = LossSpec(), LossSpec(kind="mart", label_smoothing=0.1)
    attack: Any = samples.attack()
    for members, how, loss, message in (
        (split("online-random"), attack, plain, r"split: expected fixed members, got 'online-random'"),
        (moving, attack, plain, r"split: expected fixed members, got subset\.rerank = 2, with which A is chosen anew"),
        (
            split("random"),
            attack,
            mart,
            r"loss\.kind: 'mart' needs one label per image; expected loss\.label_smoothing",
        ),
        (split("random"), attack, "trades", r"loss: expected LossSpec\(kind='trades'\), got 'trades'$"),
        (split("random"), "fgsm", plain, r"attack: expected AttackSpec\(kind='fgsm'\), got 'fgsm'$"),
        (split("random"), None, plain, r"attack: expected AttackSpec\(kind='pgd'\), got None$"),
    ):
        with pytest.raises(SpecError, match=f"^{message}"):
            Step(None, members, how, loss=loss)


@pytest.mark.parametrize("strategy", ONLINE)
def test_an_arm_goes_on_with_the_same_members(tmp_path: Path, strategy: str) -> None:
    keys = {"subset.strategy": strategy, "attack.random_start": True, "training.epochs": 2}
    assert not needs_ranking(job(tmp_path, keys=keys).spec)
    results = run_arm(job(tmp_path / "whole", keys=keys))
    assert results.split.size == 45
    assert results.cost.attack_gradients == 2 * 7 * (5 * 16 // 2)
    steps = iter(range(1000))
    for _ in range(100):
        try:
            resumed = run_arm(job(tmp_path / "stopped", keys=keys, stop=lambda: next(steps) % 4 == 3, save_every=0.0))
            break
        except Interrupted:
            pass
    assert resumed.losses == results.losses
    same_bytes(tmp_path / "whole", tmp_path / "stopped", ("*.safetensors", "*.npz", "split.json"))
