"""Heads on the frozen features of finished runs, on the numpy reference: no framework needed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from toys import bands, job, pgd_evaluator, same_bytes, toy

from sat_core import checkpoint, files
from sat_core.arm import run_arm
from sat_core.check_epochs import check_epochs
from sat_core.data import DataSet, Examples
from sat_core.errors import CheckpointError, Interrupted, RunDirectoryError, SatError, SpecError
from sat_core.job import Job
from sat_core.ranking import Ranking
from sat_core.reference import NumpyBackend
from sat_core.reuse import Finished
from sat_core.spec import Spec
from sat_core.splits import validation_permutation
from sat_core.study import Study
from sat_core.transfer import Source, transfer_spec
from sat_core.unit_folder import UnitFolder

SOURCE = {"model.name": "small-cnn", "training.epochs": 2, "subset.strategy": "random"}
HEAD = {"epochs": 4, "batch_size": 16, "lr": 0.05}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on three classes of 6 x 6 grey images."""
    folder = tmp_path_factory.mktemp("source") / "arm"
    run_arm(job(folder, keys=SOURCE))
    return folder


def other(classes: int = 4, shape: tuple[int, int, int] = (9, 7, 3), validation: bool = False) -> DataSet:
    """Another task: which quarter of a larger, coloured image is bright."""
    rng = np.random.default_rng(1)

    def part(count: int, name: str) -> Examples:
        images, labels = bands(count, classes, shape, rng, noise=0.5, light=0.5)
        return Examples((images * 255).astype(np.uint8), labels, classes, name)

    return DataSet(
        name="other",
        train=part(70, "train"),
        test=part(40, "test"),
        validation=part(12, "validation") if validation else None,
        class_names=tuple("abcdef"[:classes]),
        mean=(0.1, 0.2, 0.3),
        std=(1.0, 1.0, 1.0),
    )


def moved(source: Path, directory: Path, settings: dict[str, Any] | None = None, **changes: Any) -> Job:
    """The transfer of `source` to the other task."""
    run = Source.read(UnitFolder(source))
    data = changes.pop("data", other()).resized(run.image_shape)
    spec = transfer_spec(run.spec, "other", {**HEAD, **(settings or {})})
    options = {"backend": NumpyBackend(), "evaluator": pgd_evaluator, **changes}
    return Job(spec=spec, data=data, folder=UnitFolder(directory), source=run, **options)


def test_only_the_head_learns_and_the_results_name_the_source(source: Path, tmp_path: Path) -> None:
    results = run_arm(moved(source, tmp_path / "head"))
    before, after = (checkpoint.read(folder).groups["model"] for folder in (source, tmp_path / "head"))
    body = {name: value for name, value in before.items() if not name.startswith("fc.")}
    assert body
    assert all(np.array_equal(after[name], value) for name, value in body.items())
    assert {name: after[name].shape for name in after.keys() - body.keys()} == {
        "fc.hidden.weight": (128, 128),
        "fc.hidden.bias": (128,),
        "fc.out.weight": (4, 128),
        "fc.out.bias": (4,),
    }
    assert results.source is not None
    assert (tmp_path / "head" / results.source.run).resolve() == source.resolve()
    assert results.source.fingerprint == Source.read(UnitFolder(source)).fingerprint()
    assert results.source.split.size == 45
    assert results.data.name == "other"
    assert results.data.image_shape == (6, 6, 1)
    assert results.robust.a is None
    assert results.cost.attack_gradients == 0
    assert results.cost.flops is None
    assert results.clean_accuracy.value > 0.5
    assert results.losses[-1] < results.losses[0]
    assert not (tmp_path / "head" / "features").exists()  # needed no more


def test_the_epoch_is_picked_on_a_part_of_the_target_that_is_not_reported(source: Path, tmp_path: Path) -> None:
    run_arm(moved(source, tmp_path))
    split = json.loads((tmp_path / "split.json").read_text())
    assert split["members"] == []
    assert split["selection"] == validation_permutation(40)[:12].tolist()  # selection_share = 0.3, as in the source
    assert split["report"] == validation_permutation(40)[12:].tolist()


def test_a_target_with_validation_images_selects_on_these(source: Path, tmp_path: Path) -> None:
    results = run_arm(moved(source, tmp_path, data=other(validation=True)))
    split = json.loads((tmp_path / "split.json").read_text())
    assert split["selection"] == list(range(12))
    assert sorted(split["report"]) == list(range(40))
    assert results.selection.checks[0].robust.all.n == 12
    assert results.robust_accuracy.n == 40


def test_a_finished_head_is_taken_over_if_its_source_is_the_same(source: Path, tmp_path: Path) -> None:
    first = run_arm(moved(source, tmp_path / "done" / "a"))
    finished, new = Finished([tmp_path / "done"], besides=tmp_path / "new"), tmp_path / "new" / "deeper" / "a"
    assert finished.take_arm(moved(source, new), Ranking())
    results = UnitFolder(new).results()
    assert results.source is not None
    assert (new / results.source.run).resolve() == source.resolve()
    assert results.robust == first.robust
    assert not finished.take_arm(moved(source, tmp_path / "b", {"epochs": 1}), Ranking())
    changed = tmp_path / "source"
    shutil.copytree(source, changed)
    weights = next(changed.glob("checkpoint-best*"))
    values = checkpoint.read(weights)
    checkpoint.save(weights, values.groups, {**values.metadata, "epoch": 99})
    assert not finished.take_arm(moved(changed, tmp_path / "c"), Ranking())


def test_stopped_anywhere_it_ends_with_the_same_bytes(source: Path, tmp_path: Path) -> None:
    run_arm(moved(source, tmp_path / "whole" / "a"))
    starts = 0
    while not (tmp_path / "broken" / "a" / "results.json").exists():
        calls = iter(range(10**6))
        starts += 1
        try:
            run_arm(moved(source, tmp_path / "broken" / "a", stop=lambda calls=calls, n=starts: next(calls) >= n))
        except Interrupted:
            assert starts < 100
    assert starts > 3
    same_bytes(tmp_path / "whole", tmp_path / "broken")


class Counting(NumpyBackend):  # type: ignore[misc]
    """Counts the images whose features are asked for."""

    def load(self, path: Any, into: Any = None) -> Any:
        classifier = super().load(path, into)
        features = classifier.features
        classifier.features = lambda images: self.seen.append(len(images)) or features(images)
        return classifier


def counting() -> Counting:
    backend = Counting()
    backend.seen = []
    return backend


def test_features_are_computed_once_per_image_however_often_it_is_broken_off(source: Path, tmp_path: Path) -> None:
    backend = counting()
    for n in range(1, 6):
        calls = iter(range(100))
        with pytest.raises(Interrupted):
            run_arm(moved(source, tmp_path, backend=backend, stop=lambda calls=calls, n=n: next(calls) >= n))
    run_arm(moved(source, tmp_path, backend=backend))
    assert backend.seen == [70]


@pytest.mark.parametrize("damage", ["empty", "cut", "of another arm", "of other images"])
def test_damaged_features_are_computed_anew(source: Path, tmp_path: Path, damage: str) -> None:
    calls = iter(range(100))
    with pytest.raises(Interrupted):
        run_arm(moved(source, tmp_path / "a", stop=lambda: next(calls) >= 4))
    path = sorted((tmp_path / "a/features").glob("*.npz"))[0]
    saved = files.read_npz(path)
    if damage in ("empty", "cut"):
        path.write_bytes(path.read_bytes()[: 100 * (damage == "cut")])
    else:
        changes = {"experiment": np.array("0")} if damage == "of another arm" else {"features": saved["features"][1:]}
        files.write_npz(path, {**saved, **changes})
    backend = counting()
    results = run_arm(moved(source, tmp_path / "a", backend=backend))
    assert len(backend.seen) == 1
    assert results.losses == run_arm(moved(source, tmp_path / "b")).losses


def test_with_augmentation_features_are_those_of_the_augmented_images(source: Path, tmp_path: Path) -> None:
    backend = counting()
    results = run_arm(moved(source, tmp_path / "b", {"augmentation": "crop-flip"}, backend=backend))
    plain = run_arm(moved(source, tmp_path / "a"))
    assert backend.seen == []
    assert results.losses != plain.losses
    before, after = (checkpoint.read(folder).groups["model"] for folder in (source, tmp_path / "b"))
    assert all(np.array_equal(after[name], before[name]) for name in before if not name.startswith("fc."))


def test_a_source_that_cannot_be_used_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match=r"no results.json"):
        Source.read(UnitFolder(tmp_path))
    head = tmp_path / "head"
    run_arm(moved(source, head))
    with pytest.raises(RunDirectoryError, match="is a transfer itself"):
        Source.read(UnitFolder(head))
    (tmp_path / "old").mkdir()
    old = json.loads((source / "results.json").read_text())
    del old["data"]["image_shape"]
    (tmp_path / "old" / "results.json").write_text(json.dumps(old))
    with pytest.raises(RunDirectoryError, match=r"finished arm \(data.image_shape: missing\)"):
        Source.read(UnitFolder(tmp_path / "old"))
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone" / "results.json").write_text((source / "results.json").read_text())
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        run_arm(moved(tmp_path / "gone", tmp_path / "other"))
    assert not (tmp_path / "other").exists()


def test_a_source_that_has_changed_is_another_experiment(source: Path, tmp_path: Path) -> None:
    run_arm(moved(source, tmp_path / "head"))
    changed = tmp_path / "arm"
    run_arm(job(changed, keys=SOURCE, data=toy(seed=1)))
    with pytest.raises(RunDirectoryError, match=r"source\.fingerprint"):
        run_arm(moved(changed, tmp_path / "head", {"epochs": 4}))


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"epoch": 3}, r"unknown key 'transfer.epoch' \(did you mean 'transfer.epochs'\?\)"),
        ({"epochs": 0}, r"transfer to 'x': transfer.epochs: expected an integer >= 1"),
        ({"attacks": ["pgd"]}, "transfer.attacks: expected"),
    ],
)
def test_wrong_settings_are_named(source: Path, asked: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        transfer_spec(Source.read(UnitFolder(source)).spec, "x", asked)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"batch_size": 71}, "transfer.batch_size: expected at most the 70 training examples, got 71"),
        ({"examples": 40}, r"transfer.examples: expected 1 to 28 of 40 validation examples"),
        ({"selection_share": 41}, "transfer.selection_share: expected at most 40, got 41"),
        ({"augmentation": "imagenet"}, "transfer.augmentation: 'imagenet' crops images while"),
        ({"lr": 1e300, "weight_decay": 0}, "the loss became .*; lower transfer.lr"),
        ({"weight_decay": 50}, r"transfer.weight_decay: expected less than 2 with transfer.lr = 0.05"),
    ],
)
def test_a_transfer_names_its_own_keys(source: Path, tmp_path: Path, asked: dict[str, Any], says: str) -> None:
    with np.errstate(all="ignore"), pytest.raises(SatError, match=f"transfer to 'other': {says}"):
        run_arm(moved(source, tmp_path, asked))


def spec(**tables: Any) -> Spec:
    return Spec.from_tables({"data": {"name": "cifar100"}, "training": {"epochs": 201, "weight_decay": 1e-4}, **tables})


def test_defaults_are_the_recipes(source: Path) -> None:
    expected = {"cifar10": (41, 128), "caltech256:/x?clutter=drop": (101, 128), "flowers102": (101, 102)}
    for target, sizes in expected.items():
        head = transfer_spec(spec(attack={"eps": 3.0}, evaluation={"examples": 500}), target, {})
        assert (head.training.epochs, head.training.batch_size) == sizes
        assert (head.training.lr, head.training.schedule, head.training.weight_decay) == (0.1, "piecewise", 1e-4)
        assert (head.attack.eps, head.subset.size, head.weighting.rule) == (3.0, 0.0, "uniform")
        assert head.evaluation.examples == 500
    assert check_epochs(transfer_spec(spec(), "cifar10", {}), 50000, head=True) == (21, 31, 41)


def test_a_head_is_trained_plainly_whatever_the_source_was_trained_with() -> None:
    options = {"warmup": 2, "clip_norm": 1, "micro_batches": 4, "awp": 0.01, "averaging": "ema:0.9", "patience": 2}
    training = {"epochs": 201, "weight_decay": 1e-4, **options}
    loss = {"kind": "trades", "class_weights": [0.5] * 100}  # as many as the source has classes
    source = spec(training=training, loss=loss, attack={"restarts": 2})
    assert transfer_spec(source, "flowers102", {}) == transfer_spec(spec(), "flowers102", {})


def test_defaults_of_the_authors() -> None:
    authors = spec(protocol="authors", evaluation={"examples": 7})
    assert authors.evaluation.attacks == ("apgd-ce", "apgd-t")
    heads = {name: transfer_spec(authors, name, {}) for name in ("cifar10", "caltech256", "flowers102")}
    assert {name: check_epochs(head, 5000, head=True) for name, head in heads.items()} == {
        "cifar10": (5, 21, 31, 40),
        "caltech256": (15, 51, 76, 100),
        "flowers102": (15, 51, 76, 100),
    }
    assert {head.evaluation.attacks for head in heads.values()} == {"standard"}
    assert [head.evaluation.examples for head in heads.values()] == [0.8, 4122, "rest"]
    assert heads["caltech256"].evaluation.selection_share == 1000
    assert heads["flowers102"].data.name == "flowers102?protocol=authors"
    settings = {"epochs": 8, "attacks": ["apgd-ce"]}
    assert transfer_spec(authors, "cifar10", settings).evaluation.attacks == ("apgd-ce",)


STUDY = """
data.name = "digits"
training.epochs = 2
grid.subset.size = [0.0, 1.0]
[transfer]
targets = ["mnist5k", "cifar10:/x"]
lr = 0.02
"""


def test_a_study_has_transfers_and_keeps_them() -> None:
    study = Study.loads(STUDY)
    assert study.transfer["targets"] == ["mnist5k", "cifar10:/x"]
    assert study.head_settings == {"lr": 0.02}
    assert Study.loads(study.dumps()).transfer == study.transfer
    changed = study.set({"transfer.epochs": 3, "transfer.targets": ["svhn"]})
    assert changed.transfer == {"targets": ["svhn"], "lr": 0.02, "epochs": 3}
    assert changed.arms == study.arms


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("targets = []", "expected a list of data sets"),
        ('targets = "svhn"', "expected a list of data sets"),
        ('targets = ["svhn", "svhn"]', "expected different data sets"),
        ('targets = ["svhn"]\nsteps = 3', r"unknown key 'transfer\.steps'"),
        ('targets = ["svhn"]\nlr = -1', r"transfer\.lr: expected"),
    ],
)
def test_wrong_transfers_of_a_study_are_refused_at_once(line: str, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        Study.loads(f'data.name = "digits"\ntraining.epochs = 2\n[transfer]\n{line}\n')


def test_keys_of_transfers_are_checked_wherever_they_are_given() -> None:
    with pytest.raises(SpecError, match=r"unknown key 'transfer.epoch' \(did you mean 'transfer.epochs'\?\)"):
        Study.loads(STUDY).set({"transfer.epoch": 3})
    with pytest.raises(SpecError, match="run two transfers"):
        Study.loads('data.name = "digits"\ntraining.epochs = 1\n[grid]\ntransfer.lr = [0.1, 0.2]\n')


def test_a_source_of_a_users_model_has_to_be_made_by_its_factory(source: Path, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    results = json.loads((source / "results.json").read_text())
    results["spec"]["model"]["name"] = "nowhere:make"
    (tmp_path / "own" / "results.json").write_text(json.dumps(results))
    run = attrs.evolve(Source.read(UnitFolder(tmp_path / "own")), folder=UnitFolder(source))
    with pytest.raises(SpecError, match="cannot import 'nowhere:make'"):
        run.load(NumpyBackend())
