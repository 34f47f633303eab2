"""How often each example was attacked, A that is chosen anew, and what the seeds of subset and training decide."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rank_threads import on_ranks
from toys import job, same_bytes, toy

from sat_core import checkpoint, files
from sat_core.arm import run_arm
from sat_core.arm_results import ArmResults
from sat_core.attacked import Attacked
from sat_core.classifier import Classifier
from sat_core.errors import Interrupted, SpecError
from sat_core.job import Job
from sat_core.moments import moments
from sat_core.ranking import Ranking, run_ranking
from sat_core.sections import SubsetSpec
from sat_core.splits import class_scores, make_split

STILL = {"training.lr": 1e-30, "training.weight_decay": 0.0, "training.epochs": 2}
"""A training in which no weight changes in float32."""


def finish(directory: Path, **changes: Any) -> ArmResults:
    ranking = run_ranking(job(directory / "ranking", **changes))
    return run_arm(job(directory / "arm", **changes), ranking)


def counts(directory: Path) -> dict[str, np.ndarray]:
    return files.read_npz(directory / "attacked.npz", "counts", "first_members", "last_members")


def margins(classifier: Classifier) -> np.ndarray:
    train = toy().train
    return moments(classifier.logits(train.images), train.labels).margin


def test_members_of_batches_are_counted() -> None:
    split = make_split(SubsetSpec(strategy="random", size=3), "uniform", toy(9))
    attacked = Attacked(split)
    a, b = np.flatnonzero(split.members), np.flatnonzero(~split.members)
    attacked.add(np.array([[a[0], a[1], b[0]], [b[1], a[2], b[2]]]), np.array([2, 1]))
    attacked.add(np.array([[a[0], b[1], b[3]]]), np.array([1]))
    attacked.add(np.empty((0, 3), np.int64), np.empty(0, np.int64))
    assert {n: int(attacked.counts[n]) for n in np.flatnonzero(attacked.counts)} == {a[0]: 2, a[1]: 1, b[1]: 1}
    summary = attacked.summary()
    assert (summary.size, summary.attacked, summary.attacked_in_b) == (3, 3, 1)
    other = Attacked(split)
    other.load_state(attacked.state())
    np.testing.assert_array_equal(other.counts, attacked.counts)


def test_with_a_fixed_a_no_example_of_b_was_attacked(tmp_path: Path) -> None:
    keys = {"subset.strategy": "random", "training.epochs": 2}
    here = job(tmp_path, keys=keys)
    results = run_arm(here)
    planner = here.planner(Ranking().split(here))
    expected = np.zeros(90, int)
    for plan in (planner.epoch(0), planner.epoch(1)):
        for index in plan.index:
            expected[index[planner.split.members[index]]] += 1
    saved = checkpoint.read(tmp_path / "checkpoint-last.safetensors").groups["attacked"]["counts"]
    np.testing.assert_array_equal(saved, expected)
    assert saved.max() == 2
    # The last incomplete batch is dropped: an example of A may never be seen, but none of B is attacked.
    assert (results.split.attacked, results.split.attacked_in_b) == (int((expected > 0).sum()), 0)
    split = json.loads((tmp_path / "split.json").read_text())
    assert (split["attacked"], split["attacked_in_b"]) == (results.split.attacked, 0)
    assert results.cost.selection_forwards == 0
    assert not (tmp_path / "attacked.npz").exists()
    assert not results.split.moving


@pytest.mark.parametrize("strategy", ["online-hardest", "online-boundary", "online-random"])
def test_what_batches_chose_is_counted(strategy: str, tmp_path: Path) -> None:
    here = job(tmp_path, keys={"subset.strategy": strategy, **STILL})
    margin, planner = margins(here.build()), here.planner(Ranking().split(here))
    score = np.abs(margin) if strategy == "online-boundary" else margin
    expected = np.zeros(90, int)
    for plan in (planner.epoch(0), planner.epoch(1)):
        for index, members in zip(plan.index, plan.members, strict=True):
            chosen = index if strategy == "online-random" else index[np.argsort(score[index], kind="stable")]
            expected[chosen[:members]] += 1
    results, found = run_arm(here), counts(tmp_path)
    np.testing.assert_array_equal(found["counts"], expected)
    assert not found["first_members"].any()
    split = results.split
    assert split.moving
    assert split.attacked == split.attacked_in_b == (expected > 0).sum()
    assert split.size == 45
    assert results.cost.selection_forwards == (0 if strategy == "online-random" else 2 * 5 * 16)
    assert json.loads((tmp_path / "split.json").read_text())["members"] == []


@pytest.mark.parametrize("kind", ["examples", "classes"])
def test_a_is_chosen_anew_by_the_network_in_training(kind: str, tmp_path: Path) -> None:
    keys = {"subset.kind": kind, "subset.size": 1 if kind == "classes" else 0.3, "ranking.metric": "margin"}
    keys |= {"training.schedule": "constant", "training.lr": 0.5, "weighting.rule": "balanced"}
    results = finish(tmp_path / "moving", keys={**keys, "subset.rerank": 1, "training.epochs": 2})
    # The same first epoch, by an arm that ends after it.
    one = job(tmp_path / "arm", keys={**keys, "training.epochs": 1, "ranking.epochs": 2})
    ranking = Ranking.read(job(tmp_path / "moving" / "ranking").folder)
    run_arm(one, ranking)
    network = one.build()
    network.load_state(checkpoint.read(tmp_path / "arm" / "checkpoint-last.safetensors").groups["model"])
    score, labels = -margins(network), toy().train.labels
    if kind == "classes":
        expected = labels == np.argmax(class_scores(score, labels, 3))
    else:
        expected = np.isin(np.arange(90), np.argsort(-score, kind="stable")[:27])
    found = counts(tmp_path / "moving" / "arm")
    np.testing.assert_array_equal(found["last_members"], expected)
    np.testing.assert_array_equal(found["first_members"], ranking.split(one).members)
    assert (found["first_members"] != expected).any()
    outside = (found["counts"] > 0) & ~found["first_members"]
    assert results.split.attacked_in_b == outside.sum() > 0
    assert results.split.moving
    assert results.cost.selection_forwards == 90
    # There is no group of classes of which one was attacked and the other was not.
    assert results.robust.a is results.robust.b is None


@pytest.mark.parametrize("kind", ["examples", "classes"])
def test_a_new_a_is_kept_over_stops(kind: str, tmp_path: Path) -> None:
    keys = {"subset.kind": kind, "subset.size": 1 if kind == "classes" else 0.3, "subset.rerank": 1}
    keys |= {"training.epochs": 3, "ranking.epochs": 1, "training.lr": 0.5, "training.batches": "stratified"}
    finish(tmp_path / "whole", keys=keys)
    for _ in range(50):
        steps = iter(range(1000))
        try:
            finish(tmp_path / "stopped", keys=keys, stop=lambda steps=steps: next(steps) >= 4, save_every=1000.0)
            break
        except Interrupted:
            pass
    same_bytes(tmp_path / "whole", tmp_path / "stopped")


def test_ranks_choose_the_same_a(tmp_path: Path) -> None:
    keys = {"subset.rerank": 1, "subset.size": 0.3, "training.precision": "float64", "training.lr": 0.5}
    keys |= {"training.epochs": 3, "ranking.epochs": 1}
    alone = finish(tmp_path / "one", keys=keys)
    run_ranking(job(tmp_path / "two" / "ranking", keys=keys))
    steps = iter(range(1000))
    # In the middle of the second epoch: those who follow are told of the A that was chosen before.
    with pytest.raises(Interrupted):
        on_ranks(2, tmp_path / "two", keys=keys, told={0: {"stop": lambda: next(steps) >= 7}})
    together: ArmResults = on_ranks(2, tmp_path / "two", keys=keys)
    np.testing.assert_allclose(together.losses, alone.losses, rtol=1e-9)
    assert together.split == alone.split
    for name, array in counts(tmp_path / "one" / "arm").items():
        np.testing.assert_array_equal(counts(tmp_path / "two" / "arm")[name], array)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"subset.strategy": "random"}, "subset.rerank: expected 0 with 'random', got 2: only strategies that look"),
        (
            {"ranking.metric": "variance"},
            "of which there is no 'variance'; expected ranking.metric to be one of entropy",
        ),
    ],
)
def test_a_that_cannot_be_chosen_anew_is_refused(keys: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=says):
        job(tmp_path, keys={"subset.rerank": 2, **keys})


def test_seeds_of_subset_and_training_are_apart(tmp_path: Path) -> None:
    def of(**keys: int) -> tuple[Job, np.ndarray, Any]:
        named = {name.replace("_", ".", 1): value for name, value in keys.items()}
        here = job(tmp_path, keys={"subset.strategy": "random", **named})
        split = Ranking().split(here)
        return here, split.members, here.planner(split).epoch(0)

    def batches(plan: Any) -> list[list[int]]:
        return [sorted(index) for index in plan.index.tolist()]

    def weights(here: Job) -> np.ndarray:
        return here.build().state()["fc.weight"]

    base, members, plan = of()
    other, other_members, other_plan = of(subset_seed=1)
    assert (members != other_members).any()
    assert batches(plan) == batches(other_plan)
    np.testing.assert_array_equal(weights(base), weights(other))
    # Without a seed of its own, A is drawn from that of the training.
    _, drawn, _ = of(training_seed=1)
    np.testing.assert_array_equal(drawn, other_members)
    again, kept, later = of(subset_seed=0, training_seed=1)
    np.testing.assert_array_equal(kept, members)
    assert batches(later) != batches(plan)
    assert (weights(again) != weights(base)).any()
