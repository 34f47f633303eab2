"""The epoch loop, resume, claims and the whole of one arm, on the numpy reference: no framework needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from toys import accuracy, job, same_bytes, toy

from sat_core import files
from sat_core.arm import run_arm
from sat_core.arm_results import ArmResults
from sat_core.classifier import Classifier
from sat_core.errors import DataError, Interrupted, RunDirectoryError, SpecError, TrainingError
from sat_core.json_fields import from_json
from sat_core.ranking import Ranking, needs_ranking, ranking_job, run_ranking
from sat_core.reference import NumpyBackend
from sat_core.result_parts import Check
from sat_core.results import best_epoch


def finish(directory: Path, **changes: Any) -> ArmResults:
    ranking = run_ranking(job(directory / "ranking", **changes))
    return run_arm(job(directory / "arm", **changes), ranking)


def test_an_arm_from_ranking_to_results(tmp_path: Path) -> None:
    results = finish(tmp_path)
    assert results.robust_accuracy.n == 60 - 18
    assert results.robust.a is None
    assert results.robust.per_class is not None
    assert sum(accuracy.n for accuracy in results.robust.per_class if accuracy) == 42
    assert not any(check.robust.per_class for check in results.selection.checks)
    assert results.split.size == 45
    assert [check.epoch for check in results.selection.checks] == [3, 4]
    cost, steps = results.cost, 4 * (90 // 16) * 16
    assert cost.training_gradients == steps
    assert cost.full_at_gradients == steps * 8
    assert 0 < cost.attack_gradients < steps * 7
    # 36 pixels to 3 classes; a step costs 3 forward passes, a gradient of an attack 2
    assert cost.flops == 2 * 36 * 3 * (3 * steps + 2 * cost.attack_gradients)
    assert results.seeds["ranking"] == 0
    assert cost.ranking_gradients == steps
    assert run_arm(job(tmp_path / "arm"), None) == results  # a finished arm is read, not run
    text = (tmp_path / "arm" / "results.json").read_text()
    assert json.dumps(results.to_json(), indent=2) + "\n" == text


def test_a_network_that_cannot_be_measured_loses_no_arm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Classifier) -> None:
        raise RuntimeError("this network has no cost")

    monkeypatch.setattr(Classifier, "cost", refuse)
    results = run_arm(job(tmp_path / "arm", keys={"subset.size": 1.0}))
    assert results.cost.flops is None
    assert "flops" not in (tmp_path / "arm" / "results.json").read_text()


def test_results_say_the_full_name_of_a_shortened_one(tmp_path: Path) -> None:
    keys = {"subset.size": 1.0}
    assert run_arm(job(tmp_path / "short", keys=keys, full_name="the whole name")).full_name == "the whole name"
    assert "full_name" not in run_arm(job(tmp_path / "whole", keys=keys)).to_json()


def test_classes_in_a_split_validation_too(tmp_path: Path) -> None:
    keys = {"subset.kind": "classes", "subset.strategy": "listed", "subset.classes": ["b"]}
    arm = job(tmp_path, keys=keys)
    assert not needs_ranking(arm.spec)
    results = run_arm(arm)
    assert results.robust.a is not None
    assert results.robust.b is not None
    assert results.robust.a.n + results.robust.b.n == results.robust_accuracy.n
    assert results.split.classes == (1,)


@pytest.mark.parametrize("keys", [{}, {"ranking.record": "online", "training.nesterov": True}])
def test_stopped_anywhere_it_ends_with_the_same_bytes(tmp_path: Path, keys: dict[str, Any]) -> None:
    finish(tmp_path / "whole", keys=keys)
    for stop_every in (1, 3, 7):
        broken = tmp_path / f"broken-{stop_every}"
        starts = 0
        while not (broken / "arm" / "results.json").exists():
            calls = iter(range(10**6))
            starts += 1
            try:
                finish(broken, keys=keys, stop=lambda calls=calls, n=stop_every + starts: next(calls) >= n)
            except Interrupted:
                assert starts < 200
        assert starts > 3
        same_bytes(tmp_path / "whole", broken)


class Cut(Exception):
    """A crash at a chosen write."""


@pytest.mark.parametrize("after", range(1, 24, 2))
def test_a_crash_at_any_write_is_survived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    finish(tmp_path / "whole")
    real, writes = files.os.replace, iter(range(1, 10**6))

    def crash(*names: Any) -> None:
        if next(writes) == after:
            raise Cut
        real(*names)

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "replace", crash)
        with pytest.raises(Cut):
            finish(tmp_path / "cut", save_every=0.0)
    assert not list((tmp_path / "cut").rglob(f"{files.TEMPORARY}*"))
    finish(tmp_path / "cut", save_every=0.0)
    same_bytes(tmp_path / "whole", tmp_path / "cut")


def test_every_example_of_a_follows_the_strategy(tmp_path: Path) -> None:
    ranking = run_ranking(job(tmp_path / "ranking"))
    hardest, easiest = (ranking.split(job(tmp_path, keys={"subset.strategy": s})) for s in ("hardest", "easiest"))
    np.testing.assert_array_equal(hardest.members, ~easiest.members)
    scores = ranking.scores["entropy"]
    assert scores[hardest.members].min() >= scores[easiest.members].max()
    seeds = [ranking.split(job(tmp_path, keys={"subset.strategy": "random", "training.seed": s})) for s in (0, 1)]
    assert (seeds[0].members != seeds[1].members).any()


@pytest.mark.parametrize(
    "keys",
    [
        {"attack.kind": "free", "training.averaging": "ema:0.9", "training.patience": 2},
        {"loss.kind": "trades", "loss.label_smoothing": 0.1, "training.mixing": "mixup:1"},
        {"attack.kind": "n-fgsm", "loss.class_weights": "balanced", "training.awp": 0.01},
    ],
)
def test_a_ranking_is_trained_plainly_whatever_the_arms_are(tmp_path: Path, keys: dict[str, Any]) -> None:
    assert ranking_job(job(tmp_path, keys=keys)).spec == ranking_job(job(tmp_path)).spec


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"training.epochs": 8}, "training.epochs is 4 there and 8 here"),
        ({"subset.size": 1.0}, "subset.size is 0.5 there and 1.0 here"),
        ({"attack.eps": 0.25}, "attack.eps is 0.5 there and 0.25 here"),
    ],
)
def test_another_spec_is_refused_with_the_difference(tmp_path: Path, keys: dict[str, Any], says: str) -> None:
    finish(tmp_path)
    before = (tmp_path / "arm" / "results.json").read_bytes()
    with pytest.raises(RunDirectoryError, match=says):
        run_arm(job(tmp_path / "arm", keys=keys))
    assert (tmp_path / "arm" / "results.json").read_bytes() == before


def test_a_folder_of_an_older_version_goes_on_where_only_keys_with_defaults_are_new(tmp_path: Path) -> None:
    content = finish(tmp_path)
    path = tmp_path / "arm" / "spec.toml"
    path.write_text(path.read_text().replace('model = ""\n', ""))
    assert run_arm(job(tmp_path / "arm")) == content
    with pytest.raises(RunDirectoryError, match=r"ranking\.model is '' there and 'linear' here"):
        run_arm(job(tmp_path / "arm", keys={"ranking.model": "linear"}))


def test_another_network_may_rank(tmp_path: Path) -> None:
    own = run_ranking(job(tmp_path / "own", keys={"model.name": "small-cnn"}))
    other = run_ranking(job(tmp_path / "other", keys={"model.name": "small-cnn", "ranking.model": "linear"}))
    same = run_ranking(job(tmp_path / "same", keys={"model.name": "linear"}))
    np.testing.assert_array_equal(other.scores["entropy"], same.scores["entropy"])
    assert (tmp_path / "other" / "spec.toml").read_bytes() == (tmp_path / "same" / "spec.toml").read_bytes()
    assert (other.scores["entropy"] != own.scores["entropy"]).any()


def test_one_example_and_all_examples_are_told_apart(tmp_path: Path) -> None:
    run_arm(job(tmp_path, keys={"subset.size": 1.0}))
    with pytest.raises(RunDirectoryError, match=r"subset\.size is 1\.0 there and 1 here"):
        run_arm(job(tmp_path, keys={"subset.size": 1, "subset.strategy": "hardest"}), Ranking(scores={}))


def test_other_data_backends_and_foreign_folders_are_refused(tmp_path: Path) -> None:
    finish(tmp_path)
    with pytest.raises(RunDirectoryError, match="others than when the run began"):
        run_arm(job(tmp_path / "arm", data=toy(seed=1)))
    with pytest.raises(RunDirectoryError, match=r"run\.device is 'cpu' there and 'tpu' here"):
        run_arm(job(tmp_path / "arm", backend=NumpyBackend("tpu")))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(RunDirectoryError, match=r"found 'thesis\.tex'"):
        run_arm(job(tmp_path / "mine"))
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"subset.size": 91}, "subset.size: expected at most 90, got 91"),
        ({"training.batch_size": 91}, "training.batch_size: expected at most the 90 training examples, got 91"),
        ({"evaluation.examples": 43}, "evaluation.examples: expected 1 to 42 of 60"),
        ({"subset.kind": "classes", "subset.strategy": "listed", "subset.classes": [3]}, "expected classes in 0..2"),
        ({"ranking.file": "nowhere.npy"}, "nowhere.npy"),
        (
            {"attack.eps": 6},
            "attack.eps: expected less than 6, the L2 diameter of 6 x 6 x 1 images with pixels in [0, 1]",
        ),
        ({"attack.step_size": 127}, "attack.step_size: expected less than 6"),
    ],
)
def test_what_the_data_cannot_give_is_refused_before_training(tmp_path: Path, keys: dict[str, Any], says: str) -> None:
    with pytest.raises((SpecError, DataError)) as error:
        run_arm(job(tmp_path, keys=keys))
    assert says in str(error.value)
    assert not list(tmp_path.glob("checkpoint*"))


def test_a_ranking_that_would_miss_examples_is_refused_before_it_is_trained(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"ranking\.epochs: 1 epochs in batches of 16 leave 10 of 90 examples unseen"):
        run_ranking(job(tmp_path, keys={"ranking.epochs": 1, "ranking.record": "online"}))
    assert not list(tmp_path.iterdir())
    run_ranking(job(tmp_path, keys={"ranking.epochs": 1}))


def test_a_published_order_takes_the_place_of_the_ranking(tmp_path: Path) -> None:
    np.save(tmp_path / "order.npy", np.arange(90)[::-1])
    arm = job(tmp_path / "arm", keys={"ranking.file": str(tmp_path / "order.npy"), "subset.size": 10})
    assert not needs_ranking(arm.spec)
    run_arm(arm)
    split = json.loads((tmp_path / "arm" / "split.json").read_text())
    assert split["members"] == list(range(80, 90))


def test_a_loss_that_is_not_finite_stops_the_arm(tmp_path: Path) -> None:
    keys = {"training.lr": 1e300, "training.weight_decay": 0, "subset.size": 0}
    with np.errstate(all="ignore"), pytest.raises(TrainingError, match=r"the loss became .*; lower training\.lr"):
        run_arm(job(tmp_path, keys=keys))
    assert not (tmp_path / "results.json").exists()


def test_ties_go_to_clean_accuracy_and_then_to_the_earlier_epoch() -> None:
    def check(epoch: int, robust: float, clean: float) -> Check:
        parts = [{"all": accuracy(value, 10), "A": None, "B": None} for value in (clean, robust)]
        return from_json(Check, {"epoch": epoch, "clean_accuracy": parts[0], "robust_accuracy": parts[1]})

    assert best_epoch([check(1, 0.5, 0.9), check(2, 0.6, 0.1)]) == 2
    assert best_epoch([check(1, 0.5, 0.8), check(2, 0.5, 0.9)]) == 2
    assert best_epoch([check(1, 0.5, 0.9), check(2, 0.5, 0.9)]) == 1


def test_a_ranking_and_its_arms_draw_orders_of_their_own(tmp_path: Path) -> None:
    """With one order, an arm of the same seed meets the examples in the order that made them look hard."""
    arm = job(tmp_path, keys={"training.augmentation": "crop-flip", "ranking.epochs": 4})
    ranking = ranking_job(arm)
    (one, other) = (j.planner(j.no_members()) for j in (arm, ranking))
    assert one.training == other.training
    first, second = (planner.epoch(0) for planner in (one, other))
    assert not np.array_equal(first.index, second.index)
    assert first.moves is not None
    assert second.moves is not None
    assert not np.array_equal(first.moves.integers, second.moves.integers)
    places = other.places(0)
    np.testing.assert_array_equal(places[second.index.ravel()], np.arange(5 * 16))
    assert (places == -1).sum() == 90 - 5 * 16


def test_a_ranking_that_depends_on_its_first_epoch_says_so(tmp_path: Path) -> None:
    """Seen early, it looks hard: ρ = -0.5, as online rankings of few epochs have it."""
    rng = np.random.default_rng(0)
    places = rng.permutation(2000)
    noise = rng.normal(size=2000) * 1000
    by_order = Ranking(scores={"entropy": noise - places}, places=places)
    assert by_order.order_correlation("entropy") == pytest.approx(-0.48, abs=0.03)
    (line,) = by_order.warnings("entropy")
    assert line.startswith("ranking: difficulty depends on the order of the first epoch (ρ = -0.")
    assert Ranking(scores={"entropy": noise}, places=places).warnings("entropy") == []
    few = Ranking(scores={"entropy": rng.normal(size=30)}, places=rng.permutation(30))
    assert few.warnings("entropy") == []  # ρ of 30 examples is beyond 0.1 by chance
    ranking = finish(tmp_path).ranking
    assert ranking is not None
    assert (ranking.metric, ranking.record) == ("entropy", "snapshot")
    assert ranking.order_correlation is not None
    assert -1 <= ranking.order_correlation <= 1
    assert run_arm(job(tmp_path / "none", keys={"subset.size": 0.0})).ranking is None


def test_a_variance_against_entropy_says_so() -> None:
    rng = np.random.default_rng(0)
    scores = {"entropy": rng.random(500), "places": rng.permutation(500)}
    for sign, lines in ((1, 0), (-1, 1)):
        ranking = Ranking(scores={"entropy": scores["entropy"], "variance": sign * scores["entropy"]})
        ranking = attrs.evolve(ranking, places=scores["places"])
        assert len(ranking.warnings("variance")) == lines
        assert ranking.warnings("entropy") == []
    assert "variance is anti-correlated with entropy (ρ = -1.00)" in ranking.warnings("variance")[0]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"subset.size": 0.01}, "subset.size: 0.01 of the examples is less than one: A is empty, plain training"),
        ({"subset.size": 0.3, "subset.kind": "classes"}, "subset.size: 0.3 of the classes is less than one"),
        (
            {"subset.size": 0.0, "evaluation.selection_share": 0.01},
            "evaluation.selection_share: 0.01 of 60 images is less than one: one picks the epoch",
        ),
    ],
)
def test_shares_that_round_down_to_nothing_say_so(tmp_path: Path, keys: dict[str, Any], said: str) -> None:
    arm = job(tmp_path, keys=keys)
    (line,) = arm.warnings(arm.check())
    assert line.startswith(said)
    assert run_arm(arm, Ranking(scores={"entropy": np.zeros(90)})).warnings == (line,)


def test_selection_epochs_can_be_named(tmp_path: Path) -> None:
    results = finish(tmp_path, keys={"evaluation.selection_epochs": [1, 2, 99]})
    assert [check.epoch for check in results.selection.checks] == [1, 2, 4]


def test_a_directory_is_locked_by_one_process(tmp_path: Path) -> None:
    with files.locked(tmp_path), pytest.raises(RunDirectoryError, match="another process"), files.locked(tmp_path):
        pass


def test_jobs_are_values(tmp_path: Path) -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        job(tmp_path).spec = None  # type: ignore[misc]
