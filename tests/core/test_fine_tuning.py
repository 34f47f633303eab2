"""Trainings that start from weights, on the numpy reference: what is loaded, what is new, and what makes an arm."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from rank_threads import on_ranks
from safetensors.numpy import save_file
from toys import job, same_bytes, toy

from sat_core import checkpoint
from sat_core.arm import run_arm
from sat_core.data import DataSet, Examples
from sat_core.errors import CheckpointError, Interrupted, RunDirectoryError, SatError, SpecError
from sat_core.initial_network import fingerprint
from sat_core.input_spec import InputSpec
from sat_core.job import Job
from sat_core.ranking import Ranking, ranking_job, run_ranking
from sat_core.reference import NumpyBackend
from sat_core.resolve import resolve
from sat_core.reuse import Finished
from sat_core.run_folder import RunFolder
from sat_core.study import Study
from sat_core.transfer import Source, transfer_spec
from sat_core.unit_folder import UnitFolder

CLEAN = {"model.name": "small-cnn", "training.epochs": 2, "subset.size": 0.0}
SAT = {"model.name": "small-cnn", "training.epochs": 2, "subset.strategy": "random"}


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished arm: a clean network on three classes of 6 x 6 grey images."""
    folder = tmp_path_factory.mktemp("clean") / "size-0.0"
    run_arm(job(folder, keys=CLEAN))
    return folder


def tuned(directory: Path, weights: Path | str, **changes: Any) -> Job:
    return job(directory, keys={**SAT, "model.weights": str(weights), **changes.pop("keys", {})}, **changes)


def starts(path: Path, normalised: str = "normalised with mean [0.4] and deviation [0.3]") -> str:
    return f"starts from {path.name} (SHA-256 {fingerprint(path)[:8]}…), {normalised}"


def five_classes() -> DataSet:
    data = toy()
    parts = {n: Examples(p.images, p.labels, 5, n) for n, p in (("train", data.train), ("test", data.test))}
    return attrs.evolve(data, **parts, class_names=tuple("abcde"))


def test_a_training_begins_with_the_weights_of_a_file(clean: Path, tmp_path: Path) -> None:
    saved = checkpoint.read(clean).groups["model"]
    plain = tmp_path / "plain.safetensors"
    save_file({f"module.{name}": value for name, value in saved.items()}, plain)
    for path in (clean, clean / "checkpoint-best", plain):
        network = tuned(tmp_path / "a", path).build()
        assert all(np.array_equal(value, saved[name]) for name, value in network.state().items())
        assert network.taken == (
            starts(path),
            *("'module', of DataParallel or DistributedDataParallel, was taken out of the names",) * (path == plain),
        )


def test_the_last_layer_is_new_where_the_classes_are_others_and_nothing_else_may_differ(
    clean: Path, tmp_path: Path
) -> None:
    other = tuned(tmp_path / "a", clean, data=five_classes())
    state, saved = other.build().state(), checkpoint.read(clean).groups["model"]
    new = job(tmp_path / "a", keys=SAT, data=five_classes()).build().state()
    for name, value in state.items():
        assert np.array_equal(value, new[name] if name.startswith("fc.") else saved[name]), name
    assert other.build().taken == (starts(clean), "the last layer is new: fc.weight, fc.bias")
    results = run_arm(other)
    assert results.weights is not None
    assert results.weights.taken == other.build().taken
    assert results.weights.fingerprint == fingerprint(clean / "checkpoint-best.safetensors")
    with pytest.raises(CheckpointError, match=r"'bn1.bias' and \d+ more, which the network has not"):
        tuned(tmp_path / "b", clean, keys={"model.name": "linear"}).probe()
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        tuned(tmp_path / "b", tmp_path / "none.safetensors").probe()


def test_only_the_last_layer_learns(clean: Path, tmp_path: Path) -> None:
    for averaging in ("none", "ema:0.5"):
        arm = tuned(tmp_path / averaging, clean, keys={"model.layers": "head", "training.averaging": averaging})
        run_arm(arm)
        before, after = (checkpoint.read(folder).groups["model"] for folder in (clean, arm.folder.path))
        same = {name for name, value in after.items() if np.array_equal(value, before[name])}
        assert before.keys() - same == {"fc.weight", "fc.bias"}


def test_stopped_anywhere_it_ends_with_the_same_bytes(clean: Path, tmp_path: Path) -> None:
    keys = {"model.layers": "head", "training.epochs": 1}
    run_arm(tuned(tmp_path / "whole" / "a", clean, keys=keys))
    starts = 0
    while not (tmp_path / "broken" / "a" / "results.json").exists():
        calls = iter(range(10**6))
        starts += 1
        try:
            run_arm(
                tuned(tmp_path / "broken" / "a", clean, keys=keys, stop=lambda calls=calls, n=starts: next(calls) >= n)
            )
        except Interrupted:
            assert starts < 100
    assert starts > 3
    same_bytes(tmp_path / "whole", tmp_path / "broken")


def test_two_ranks_train_the_last_layer_as_one(clean: Path, tmp_path: Path) -> None:
    keys = {**SAT, "model.weights": str(clean), "model.layers": "head"}
    alone, together = run_arm(job(tmp_path / "one", keys=keys)), on_ranks(2, tmp_path / "two", keys=keys)
    assert together.weights == alone.weights
    assert together.losses == pytest.approx(alone.losses)
    before, after = (checkpoint.read(folder).groups["model"] for folder in (clean, tmp_path / "two" / "arm"))
    assert {name for name, value in after.items() if not np.array_equal(value, before[name])} == {
        "fc.weight",
        "fc.bias",
    }


def test_random_features_are_probably_a_mistake(clean: Path, tmp_path: Path) -> None:
    says = "model.layers: the head is trained on features that are drawn at random; set model.weights"
    assert says in job(tmp_path, keys={**SAT, "model.layers": "head"}).warnings(45)
    assert says not in tuned(tmp_path, clean, keys={"model.layers": "head"}).warnings(45)
    assert says not in job(tmp_path, keys=SAT).warnings(45)


def test_an_arm_is_its_weights_wherever_they_lie(clean: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    shutil.copy(clean / "checkpoint-best.safetensors", file)
    arm = tuned(tmp_path / "arm", file)
    results = run_arm(arm)
    moved = tmp_path / "b.safetensors"
    file.rename(moved)
    assert run_arm(tuned(tmp_path / "arm", moved)) == results
    assert arm.folder.read_spec()[0]["model"]["weights"] == str(moved)
    with pytest.raises(CheckpointError, match=r"a.safetensors: no such checkpoint"):
        run_arm(tuned(tmp_path / "arm", file))
    state = checkpoint.read(moved).groups["model"]
    save_file({name: value + np.float32(1e-3) for name, value in state.items()}, moved)
    with pytest.raises(RunDirectoryError, match=r"the weights in .*b.safetensors are others than when the run began"):
        run_arm(tuned(tmp_path / "arm", moved))
    with pytest.raises(RunDirectoryError, match=r"model.weights is .*b.safetensors' there and '' here"):
        run_arm(job(tmp_path / "arm", keys=SAT))


def test_keys_of_before_make_the_arms_of_before(tmp_path: Path) -> None:
    """Keys with their defaults are in no fingerprint, and a training without weights has none in its files."""
    arm = job(tmp_path, keys=SAT)
    tables = arm.spec.to_tables()
    older = {**tables, "model": {"name": "small-cnn"}}
    assert arm.experiment(tables).fingerprint() == arm.experiment(older).fingerprint()
    assert list(arm.experiment(tables).run) == ["backend", "device", "data_fingerprint"]
    assert run_arm(arm).weights is None


def test_only_an_arm_with_the_same_weights_is_taken_over(clean: Path, tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    shutil.copy(clean / "checkpoint-best.safetensors", file)
    run_arm(tuned(tmp_path / "a" / "arm", file))
    moved = tmp_path / "moved.safetensors"
    shutil.copy(file, moved)
    for name, path in (("b", file), ("m", moved)):
        arm = tuned(tmp_path / name / "arm", path)
        assert Finished([tmp_path / "a"], besides=tmp_path / name).take_arm(arm, Ranking())
        assert arm.folder.read_spec()[0]["model"]["weights"] == str(path)
        assert run_arm(arm).reused == "../../a/arm"
    assert UnitFolder(tmp_path / "a" / "arm").read_spec()[0]["model"]["weights"] == str(file)
    save_file({n: v * np.float32(2) for n, v in checkpoint.read(file).groups["model"].items()}, file)
    finished = Finished([tmp_path / "a"], besides=tmp_path / "c")
    assert not finished.take_arm(tuned(tmp_path / "c" / "arm", file), Ranking())
    assert not finished.take_arm(job(tmp_path / "c" / "arm", keys=SAT), Ranking())


def test_the_ranking_begins_with_the_weights_of_the_arms(clean: Path, tmp_path: Path) -> None:
    hardest = {"subset.strategy": "hardest", "ranking.epochs": 1}
    arm = tuned(tmp_path / "r", clean, keys=hardest)
    own = tuned(tmp_path / "s", clean, keys={**hardest, "ranking.model": "small-cnn"})
    saved = checkpoint.read(clean).groups["model"]["fc.weight"]
    assert np.array_equal(ranking_job(arm).build().state()["fc.weight"], saved)
    assert not np.array_equal(ranking_job(own).build().state()["fc.weight"], saved)
    ranking = run_ranking(arm)
    assert "weights_fingerprint" in arm.folder.read_spec()[1]
    new = run_ranking(job(tmp_path / "n", keys={**SAT, **hardest}))
    assert ranking.scores["entropy"].mean() < new.scores["entropy"].mean()


def test_mean_and_deviation_are_those_that_are_given(clean: Path, tmp_path: Path) -> None:
    arm = tuned(tmp_path / "arm", clean, keys={"model.mean": [0.25], "model.std": ["1/2"]})
    network = arm.build()
    assert (network.inputs.mean, network.inputs.std) == ((0.25,), (0.5,))
    assert network.taken == (
        starts(clean, "normalised with mean [0.25] and deviation [0.5]"),
        "the weights were trained with the mean [0.4] and deviation [0.3], and here it is [0.25] and [0.5]: "
        "model.mean and model.std set them",
    )
    run_arm(arm)
    source = Source.read(arm.folder)
    assert source.inputs == InputSpec(3, (6, 6, 1), (0.25,), (0.5,))
    assert source.load(NumpyBackend()).inputs == source.inputs
    images = toy().test.images
    loaded = attrs.evolve(arm).load_best()
    assert np.array_equal(loaded.logits(images), source.load(NumpyBackend()).logits(images))
    assert tuned(tmp_path / "b", clean, keys={"model.output": 1}).spec.model.output == "1"
    # a head is trained on what the source brings
    head = transfer_spec(source.spec, "other", {"epochs": 1})
    assert (head.model.weights, head.model.layers, head.model.mean) == ("", "all", (0.25,))
    for keys, words in (
        ({"model.mean": [0.1, 0.2], "model.std": [1, 1]}, "model.mean, model.std: expected none or one per channel"),
        ({"model.output": "logits"}, "model.output: 'small-cnn' returns its logits alone"),
    ):
        with pytest.raises(SpecError, match=words):
            tuned(tmp_path / "b", clean, keys=keys).probe()
    for keys, words in (
        ({"model.mean": [0.1]}, "model.mean, model.std: expected both or none"),
        ({"model.mean": [0.1], "model.std": [0]}, "no deviation of 0"),
        ({"model.mean": ["x"], "model.std": [1]}, "model.mean: expected a list of finite numbers"),
        ({"model.output": True}, "model.output: expected text, or a number from 0, got True"),
        ({"model.output": -1}, "model.output: expected text, or a number from 0, got -1"),
        ({"model.layers": "last"}, "model.layers: expected one of all, head"),
    ):
        with pytest.raises(SatError, match=words):
            tuned(tmp_path / "b", clean, keys=keys)


def test_paths_of_weights_are_those_of_where_the_user_stands(
    clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clean.parent)
    base = {"data": {"name": "toy"}, "model": {"name": "small-cnn"}, "training": {"epochs": 1}}
    grid = {"model.weights": ["", "size-0.0", "size-0.0/checkpoint-best.safetensors"]}
    study = resolve(Study(settings=base, grids=grid), RunFolder(tmp_path / "run"), NumpyBackend())
    # as users gave them, and one name each
    assert [arm.name for arm in study.arms] == ["weights-new", "weights-size-0.0", "weights-checkpoint-best"]
    paths = [arm.spec.model.weights for arm in study.arms]
    assert paths == ["", str(clean), str(clean / "checkpoint-best.safetensors")]
    monkeypatch.chdir(tmp_path)
    jobs = [attrs.evolve(tuned(tmp_path / a.name, ""), spec=a.spec) for a in study.arms]
    assert np.array_equal(jobs[1].build().state()["fc.bias"], jobs[2].build().state()["fc.bias"])
    assert jobs[0].experiment({}, paths).run["weights_fingerprint"] == fingerprint(clean)
    one = Study(settings={**base, "model": {"weights": "nowhere.pt"}})
    with pytest.raises(CheckpointError, match=rf"^model.weights: {os.getcwd()}/nowhere.pt: no such checkpoint"):
        resolve(one, RunFolder(tmp_path / "run"), NumpyBackend())
    plain = Study(settings=base)
    assert resolve(plain, RunFolder(tmp_path / "run"), NumpyBackend()) is plain


def test_an_arm_folder_says_where_its_weights_are_from(clean: Path, tmp_path: Path) -> None:
    arm = tuned(tmp_path / "arm", clean)
    run_arm(arm)
    content = UnitFolder(tmp_path / "arm").results().to_json()
    assert content["weights"] == {"fingerprint": fingerprint(clean), "taken": [starts(clean)]}
    assert content["spec"]["model"]["weights"] == str(clean)
