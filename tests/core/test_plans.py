"""Plans of epochs: which examples are in which batch, members first, and what travels with each example."""

from __future__ import annotations

import attrs
import numpy as np
import pytest

from sat_core.augmentation import AUGMENTATIONS, move_map, rotation_map
from sat_core.batches import Planner
from sat_core.numpy_ops import NUMPY
from sat_core.testing import samples

N, BATCH = 90, 16


def planner(share: float = 0.3, **changes: object) -> Planner:
    training = samples.training(batch_size=BATCH, **changes)
    return Planner(samples.split(N, share), training, samples.attack(random_start=True), samples.SHAPE)


@pytest.mark.parametrize("batches", ["random", "stratified"])
def test_members_come_first_and_every_example_at_most_once(batches: str) -> None:
    one = planner(batches=batches)
    plan = one.epoch(1)
    assert plan.index.shape == (N // BATCH, BATCH)
    assert len(np.unique(plan.index)) == plan.index.size
    for index, members, weights in zip(plan.index, plan.members, plan.weights, strict=True):
        assert one.split.members[index[:members]].all()
        assert not one.split.members[index[members:]].any()
        np.testing.assert_array_equal(weights, one.split.example_weights(index))
    seen = one.places(1) >= 0
    np.testing.assert_array_equal(np.flatnonzero(seen), np.unique(plan.index))


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.5, 0.97, 1.0])
@pytest.mark.parametrize("batch", [1, 7, 16, 45, 90])
def test_stratified_batches_have_as_many_members_but_for_one(share: float, batch: int) -> None:
    split = samples.split(N, share)
    training = samples.training(batch_size=batch, batches="stratified")
    one = Planner(split, training, samples.attack(), samples.SHAPE)
    plans = [one.epoch(epoch) for epoch in range(2)]
    exact = batch * split.members.sum() / N
    assert all(np.abs(plan.members - exact).max() < 1 for plan in plans)
    assert all(len(np.unique(plan.index)) == plan.index.size for plan in plans)
    assert share in (0.0, 1.0) or batch == 90 or not np.array_equal(plans[0].index, plans[1].index)


def test_random_batches_and_their_augmentation_do_not_depend_on_a() -> None:
    few, many = (planner(share, augmentation="cifar").epoch(0) for share in (0.1, 0.8))
    assert not np.array_equal(few.index, many.index)
    assert few.moves is not None
    assert many.moves is not None
    for step in range(few.steps):
        one, other = np.argsort(few.index[step]), np.argsort(many.index[step])
        np.testing.assert_array_equal(few.index[step][one], many.index[step][other])
        np.testing.assert_array_equal(few.moves.integers[step][one], many.moves.integers[step][other])
        np.testing.assert_array_equal(few.moves.factors[step][one], many.moves.factors[step][other])


def test_a_random_start_follows_from_seed_epoch_and_example() -> None:
    def keys(plan: object) -> dict[int, tuple[int, ...]]:
        pairs = zip(plan.index.ravel(), plan.keys.reshape(-1, 2), strict=True)  # type: ignore[attr-defined]
        return {int(example): tuple(key.tolist()) for example, key in pairs}

    one, shuffled = keys(planner(0.3).epoch(1)), keys(planner(0.9, batches="stratified").epoch(1))
    common = set(one) & set(shuffled)
    assert len(common) > N // 2
    assert all(one[example] == shuffled[example] for example in common)
    for other in (planner(0.3).epoch(0), planner(0.3, seed=1).epoch(1), attrs.evolve(planner(), streams="x").epoch(1)):
        found = keys(other)
        assert not any(one[example] == found[example] for example in set(one) & set(found))


def test_the_maps_are_those_of_real_numbers() -> None:
    """Crop, mirror and rotation pixel by pixel, from the uniforms themselves."""
    kind, (h, w) = AUGMENTATIONS.get("cifar"), (32, 28)
    draws = kind.draw(np.random.default_rng(0), 20)
    assert draws is not None
    moves = kind.moves(draws)
    assert moves is not None
    moved, turned = (make(NUMPY, moves.integers, h, w) for make in (move_map, rotation_map))
    different = 0
    for image, draw in enumerate(draws):
        top, left = int(draw[0] * 9) - 4, int(draw[1] * 9) - 4
        angle = np.deg2rad((draw[3] * 2 - 1) * 2)
        for row, column in np.ndindex(h, w):
            r, c = row + top, (w - 1 - column if draw[2] < 0.5 else column) + left
            assert moved[image, row, column] == (r * w + c if 0 <= r < h and 0 <= c < w else h * w)
            y, x = row + 0.5 - h / 2, column + 0.5 - w / 2
            c, r = (int(np.floor(v)) for v in (np.cos(angle) * x - np.sin(angle) * y + w / 2,
                                               np.sin(angle) * x + np.cos(angle) * y + h / 2))  # fmt: skip
            different += turned[image, row, column] != (r * w + c if 0 <= r < h and 0 <= c < w else h * w)
    assert different <= 0.002 * turned.size  # on the edge of two pixels 2^-14 decides
