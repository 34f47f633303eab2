"""What a study has to compute, counted before it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from sat_core.errors import DataError
from sat_core.network_cost import head_cost
from sat_core.study import Study
from sat_evaluation.plan.facts import Facts, facts_of
from sat_evaluation.plan.measure import training_rates
from sat_evaluation.plan.plan import START, plan_study
from sat_evaluation.plan.queries import NO_QUERIES, guess_for
from sat_evaluation.plan.rates import Rates
from sat_evaluation.plan.units import study_units, without_repeats

FACTS = Facts(name="digits", train=1437, test=360, classes=10, image_shape=(8, 8, 1))


def study(**keys: Any) -> Study:
    tables = {"data": {"name": "digits"}, "training": {"epochs": 4, "batch_size": 64}, "ranking": {"epochs": 3}}
    return Study.from_tables({**tables, "evaluation": {"examples": 100}}).set(keys)


def test_gradients_are_those_that_results_count() -> None:
    ranking, plain, half, full = study_units(study(**{"subset.size": [0.0, 0.5, 1.0]}), FACTS)
    # 22 of the batches of 64 fit into 1437 images; PGD-7
    assert ranking.work.training_gradients == 3 * 22 * 64
    assert ranking.work.forwards == 3 * 1437
    assert (plain.work.training_gradients, plain.work.attack_gradients) == (4 * 22 * 64, 0)
    assert full.work.attack_gradients == 7 * 4 * 22 * 64
    assert half.size == 718
    assert half.work.attack_gradients == pytest.approx(full.work.attack_gradients / 2, rel=0.01)
    assert [unit.after_ranking for unit in (plain, half, full)] == [False, True, False]


def test_images_that_nothing_breaks_cost_all_queries_and_broken_ones_one_attack() -> None:
    (unit,) = study_units(study(**{"subset.size": 1.0, "evaluation.attacks": ["square"]}), FACTS)
    guess = guess_for("digits")
    robust, broken = 100 * guess.full * 5000, 100 * (guess.clean - guess.full) * 500  # it stops at what is broken
    assert unit.work.report.queries == pytest.approx(robust + broken)
    standard, _ = study_units(study(**{"subset.size": [1.0, 0.0]}), FACTS)
    # APGD-CE, APGD-T and FAB-T against 9 classes, Square
    whole = 101 + 9 * 101 + 9 * 200 + 5000
    assert standard.work.report.queries == pytest.approx(88 * whole + 11 * 101)


def test_memory_is_that_of_a_step_or_of_the_attack_at_the_end_and_heads_keep_only_their_own() -> None:
    targets = {"transfer.targets": ["mnist5k"], "transfer.epochs": 1}
    ranking, arm, head = study_units(study(**{"subset.size": 0.5, "model.name": "resnet18", **targets}), FACTS)
    assert ranking.cost is not None
    assert arm.cost == ranking.cost
    assert ranking.memory == ranking.cost.training_bytes(64)
    # weights of this size take more than the activations of 100 images
    assert arm.memory == ranking.memory > 4 * arm.cost.parameters + 100 * arm.cost.activation_bytes
    more = attrs.evolve(arm, spec=attrs.evolve(arm.spec, training=attrs.evolve(arm.spec.training, batch_size=200)))
    assert more.memory == arm.cost.training_bytes(200)
    assert head.cost is not None
    unattacked = attrs.evolve(head, work=attrs.evolve(head.work, report=NO_QUERIES))
    of_head = head_cost(512, 10).training_bytes(head.spec.training.batch_size)
    assert unattacked.memory == 4 * head.cost.parameters + of_head
    # the whole network is attacked
    assert head.memory == 4 * head.cost.parameters + 100 * head.cost.activation_bytes


def test_hours_follow_from_rates_and_from_how_many_run_side_by_side() -> None:
    rates = Rates(training=1.0, attack=0.0, forward=0.0, query=0.0, source="table", detail="", factor=2.0)
    four = study(**{"subset.size": 0.0, "training.seed": [0, 1, 2, 3]})
    alone, beside = (plan_study(four, lambda *_: rates, jobs=jobs) for jobs in (1, 2))
    assert alone.seconds is not None
    assert alone.seconds.training == 4 * 4 * 22 * 64
    assert alone.wall_seconds == 2 * (beside.wall_seconds or 0)
    unknown = plan_study(four)
    assert unknown.wall_seconds is None
    assert unknown.to_json()["gradients"] == 4 * 4 * 22 * 64


def test_arms_of_several_studies_are_counted_once() -> None:
    seen: set[Any] = set()
    first = without_repeats(study_units(study(**{"subset.size": [0.0, 0.5]}), FACTS), seen)
    second = without_repeats(study_units(study(**{"subset.size": [0.5, 1.0]}), FACTS), seen)
    assert [unit.name for unit in first] == ["ranking", "size-0.0", "size-0.5"]
    assert [unit.name for unit in second] == ["size-1.0"]


def test_facts_of_files_come_from_their_headers(tmp_path: Path) -> None:
    import numpy as np

    arrays = {"x_train": np.zeros((30, 4, 5, 3), np.uint8), "x_test": np.zeros((7, 4, 5, 3), np.uint8)}
    np.savez(tmp_path / "own.npz", **arrays, y_train=np.arange(30) % 3, y_test=np.zeros(7, int))
    own = facts_of(f"npz:{tmp_path}/own.npz")
    assert (own.train, own.test, own.classes, own.image_shape, own.name) == (30, 7, 3, (4, 5, 3), "npz:own.npz")
    for part, number in (("train", 4), ("test", 2)):
        (tmp_path / part / "cats").mkdir(parents=True)
        for image in range(number):
            (tmp_path / part / "cats" / f"{image}.png").touch()
    folder = facts_of(f"folder:{tmp_path}?size=32")
    assert (folder.train, folder.test, folder.classes, folder.image_shape) == (4, 2, 1, (32, 32, 3))
    absent = facts_of(f"npz:{tmp_path}/cifar10-16x16.npz")
    assert absent.image_shape == (16, 16, 3)
    assert "is not there: planned with the number of images of CIFAR-10" in absent.assumed
    with pytest.raises(DataError, match="no file of that name"):
        facts_of(f"npz:{tmp_path}/birds.npz")


def test_images_are_watched_in_arms_and_in_heads() -> None:
    keys = {"subset.size": 0.0, "transfer.targets": ["mnist5k"], "transfer.epochs": 2}
    (arm, head), watched = (study_units(study(**keys, **more), FACTS) for more in ({}, {"evaluation.watch": 10}))
    # PGD-10 and two predictions; a gradient costs 2 forward passes
    more = [unit.work.forwards - plain.work.forwards for unit, plain in zip(watched, (arm, head), strict=True)]
    assert more == [4 * 10 * 22, 2 * 10 * 22]
    few = study_units(study(**keys, **{"evaluation.watch": 10_000}), FACTS)[0]
    assert few.work.forwards == 4 * 36 * 22  # a tenth of the test images pick the epoch


def test_rates_are_those_that_steps_were_made_of() -> None:
    """A further gradient of TRADES and of AWP is one of the training, and none of the attack."""
    keys = {"subset.size": 1.0, "loss.kind": "trades", "training.awp": 0.005, "training.batch_size": 64}
    spec = study(**keys).arms[0].spec
    of_image, fixed, of_attack, fixed_of_attack = 7e-4, 3e-4 * 64, 2e-3, 5e-3

    def step(members: int) -> float:
        more = 64 + members if members else 0
        attacked = spec.attack.passes * (of_attack * members + fixed_of_attack) if members else 0
        return fixed + of_image * (64 + more) + attacked

    rates = training_rates(spec, step(0), step(8), step(64), 8.0)
    assert rates == pytest.approx((fixed, of_image, fixed_of_attack, of_attack))


def test_an_attack_is_expected_to_cost_something_where_free_at_was_measured() -> None:
    spec = study(**{"subset.size": 1.0, "attack.kind": "free"}).arms[0].spec
    step, training, attack_step, attack = training_rates(spec, 8.0, 8.0, 8.0, 8.0)
    # a gradient over the images costs 2 forward passes, one of a training step 3
    assert (attack_step, attack) == pytest.approx((2 / 3 * step, 2 / 3 * training))
    assert min(step, training) > 0


def test_the_plan_of_a_transfer_is_that_of_its_heads() -> None:
    rates = Rates(training=1.0, attack=0.0, forward=1.0, query=0.0, source="table", detail="", factor=2.0)
    keys = {"subset.size": [0.0, 1.0], "transfer.targets": ["mnist5k", "cifar10"], "transfer.epochs": 1}
    plan = plan_study(study(**keys), lambda *_: rates, facts=FACTS)
    heads = plan.heads("mnist5k")
    assert [each.unit.target for each in heads.units] == ["mnist5k"] * 2
    assert [facts.name for facts in heads.facts] == ["mnist5k"]
    assert heads.seconds is not None
    assert heads.wall_seconds == heads.seconds.total + 2 * START
