"""Accuracies after each epoch: what they are, that they change nothing else, and that a later start repeats them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from rank_threads import on_ranks
from toys import job, same_bytes, toy

from sat_core.arm import run_arm
from sat_core.arm_results import ArmResults
from sat_core.attack_spec import AttackSpec
from sat_core.errors import Interrupted
from sat_core.watch import Watch, watched

KEYS = {
    "subset.size": 1.0,
    "attack.eps": 0.4,
    "training.lr": 0.005,
    "training.schedule": "constant",
    "training.precision": "float64",
    "evaluation.watch": 12,
}


def test_the_same_images_are_watched_and_none_of_them_is_reported(tmp_path: Path) -> None:
    results = run_arm(job(tmp_path / "arm", keys=KEYS))
    split = json.loads((tmp_path / "arm" / "split.json").read_text())
    assert len(split["watch"]) == 12
    assert set(split["watch"]) <= set(split["selection"])
    assert not set(split["watch"]) & set(split["report"])
    assert results.watch is not None
    assert (results.watch.examples, results.watch.eps) == (12, 0.4)
    assert len(results.watch.clean) == len(results.watch.robust) == 4
    assert ArmResults.from_json(results.to_json()) == results
    assert results.cost.seconds["watch"] is not None


def test_fewer_images_than_asked_are_all_watched(tmp_path: Path) -> None:
    results = run_arm(job(tmp_path / "arm", keys={**KEYS, "evaluation.watch": 512}))
    assert results.watch is not None
    assert results.watch.examples == 18  # 0.3 of 60


def test_of_validation_images_in_the_order_of_their_classes_all_classes_are_watched() -> None:
    assert {n // 100 for n in watched(np.arange(300), 20)} == {0, 1, 2}


def test_values_are_those_of_pgd_and_of_the_network_after_each_epoch(tmp_path: Path) -> None:
    """The last ones are those of the last weights."""
    arm = job(tmp_path / "arm", keys=KEYS)
    results = run_arm(arm)
    split = json.loads((tmp_path / "arm" / "split.json").read_text())
    examples, classifier = toy().test.take(np.array(split["watch"])), arm.build()
    classifier = arm.backend.load(tmp_path / "arm" / "checkpoint-last.safetensors", into=classifier)
    correct = classifier.logits(examples.images).argmax(1) == examples.labels
    attack = AttackSpec(norm="L2", eps=0.4, steps=10, step_size=0.1)
    attacked = classifier.perturb(examples.images, examples.labels, attack)
    robust = correct & (classifier.logits(attacked).argmax(1) == examples.labels)
    assert results.watch is not None
    assert (results.watch.clean[-1], results.watch.robust[-1]) == (correct.mean(), robust.mean())
    assert results.watch.robust[-1] not in results.watch.robust[:-1]


def test_what_an_attack_does_to_a_misclassified_image_does_not_count(tmp_path: Path) -> None:
    examples = toy().test
    classifier = job(tmp_path).build()
    wrong = attrs.evolve(examples, labels=(classifier.logits(examples.images).argmax(1) + 1) % 3)
    assert Watch(examples=wrong, attack=AttackSpec(eps=3.0)).measure(classifier) == (0, 0)


def test_nothing_else_changes(tmp_path: Path) -> None:
    averaged = {**KEYS, "training.averaging": "ema:0.9"}
    for name, keys in (("plain", KEYS), ("averaged", averaged)):
        on = run_arm(job(tmp_path / name, keys=keys))
        off = run_arm(job(tmp_path / f"{name}-off", keys={**keys, "evaluation.watch": 0}))
        assert on.watch is not None
        assert off.watch is None
        assert "watch" not in off.to_json()
        assert (on.losses, on.selection, on.robust) == (off.losses, off.selection, off.robust)
        one, other = ((tmp_path / folder / "examples.npz").read_bytes() for folder in (name, f"{name}-off"))
        assert one == other


def test_stopped_anywhere_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    run_arm(job(tmp_path / "whole" / "arm", keys=KEYS))
    broken, starts = tmp_path / "broken" / "arm", 0
    while not (broken / "results.json").exists():
        calls, starts = iter(range(10**6)), starts + 1
        try:
            run_arm(job(broken, keys=KEYS, stop=lambda calls=calls, n=3 + starts: next(calls) >= n))
        except Interrupted:
            assert starts < 200
    assert starts > 3
    same_bytes(tmp_path / "whole", tmp_path / "broken")


def test_ranks_watch_as_one_does(tmp_path: Path) -> None:
    alone = run_arm(job(tmp_path / "one", keys=KEYS))
    together: Any = on_ranks(2, tmp_path / "two", keys=KEYS)
    assert together.watch == alone.watch


def test_trackers_get_the_curve(tmp_path: Path) -> None:
    told: dict[tuple[int, str], float] = {}

    def scalars(epoch: int, values: Any) -> None:
        told.update({(epoch, name): value for name, value in values.items()})

    results = run_arm(job(tmp_path, keys=KEYS, scalars=scalars))
    assert results.watch is not None
    assert [told[epoch, "watch/robust_accuracy"] for epoch in range(1, 5)] == list(results.watch.robust)
