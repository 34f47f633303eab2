"""What a training, a ranking and AutoAttack make of images that are decoded when they are needed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from pictures import SIZE, broken_tree
from toys import pgd_evaluator, same_bytes

from sat_core.arm import run_arm
from sat_core.backend import Backend
from sat_core.batches import Planner
from sat_core.data import DataSet, Examples
from sat_core.datasets import get_dataset
from sat_core.errors import DataError, Interrupted, SpecError
from sat_core.job import Job
from sat_core.ranking import run_ranking
from sat_core.reference import NumpyBackend
from sat_core.run_folder import RunFolder
from sat_core.spec import Spec
from sat_core.study import Study
from sat_core.tables import nest
from sat_core.unit_folder import UnitFolder
from sat_evaluation.cli.live_view import Terminal
from sat_evaluation.run.prepare import prepare_study

pytestmark = pytest.mark.data


def test_plans_keep_their_images(data: DataSet) -> None:
    spec = Spec.from_tables({"data": {"name": "x"}, "training": {"epochs": 1, "batch_size": 7}})
    split = Job(spec=spec, data=data, backend=NumpyBackend(), folder=UnitFolder(Path())).no_members()
    training = attrs.evolve(spec.training, augmentation="imagenet")
    planner = Planner(split, training, spec.attack, data.image_shape)
    plan = planner.epoch(0)
    assert plan.steps == 5
    assert plan.draws is not None
    decoded = list(plan.decoded(data.train.images, 2))
    assert len(decoded) == 3
    for step, images in enumerate(decoded, 2):
        assert np.array_equal(images, data.train.images.read(plan.index[step], plan.draws[step]))
    assert list(plan.decoded(data.train.images[np.arange(40)], 3)) == [None, None]


def job(name: str, directory: Path, backend: Backend, **changes: Any) -> Job:
    keys = {
        "data.name": name,
        "training.epochs": 2,
        "training.batch_size": 8,
        "training.lr": 0.02,
        "training.augmentation": "imagenet",
        "subset.size": 0.5,
        "evaluation.selection_share": 0.3,
        **changes.pop("keys", {}),
    }
    data = changes.pop("data", None) or get_dataset(name)
    options = {"data": data, "backend": backend, "evaluator": pgd_evaluator, **changes}
    return Job(spec=Spec.from_tables(nest(keys)), folder=UnitFolder(directory), **options)


@pytest.mark.backend
def test_a_training_on_streamed_images_is_the_same_wherever_it_is_broken_off(
    photographs: Path, tmp_path: Path, backend: Backend
) -> None:
    name = f"folder:{photographs}?size={SIZE}"

    def run(folder: Path, **changes: Any) -> None:
        with backend.session(job(name, folder, backend).spec.training):
            ranking = run_ranking(job(name, folder / "ranking", backend, **changes))
            run_arm(job(name, folder / "arm", backend, **changes), ranking)

    run(tmp_path / "whole")
    for starts in range(1, 40):
        calls = iter(range(10**6))
        try:
            run(tmp_path / "broken", stop=lambda calls=calls, n=starts + 2: next(calls) >= n)
            break
        except Interrupted:
            pass
    assert starts > 3
    same_bytes(tmp_path / "whole", tmp_path / "broken")


@pytest.mark.backend
def test_autoattack_takes_streamed_images_as_if_they_were_in_memory(
    data: DataSet, backend: Backend, tmp_path: Path
) -> None:
    options = {"classes": 2, "image_shape": data.image_shape, "mean": data.mean, "std": data.std}
    classifier = backend.build("small-cnn", **options)  # type: ignore[arg-type]
    index = np.array([20, 3, 11, 0, 7, 15])
    held = Examples(data.test.images[index], data.test.labels[index], 2)
    evaluations = [
        backend.evaluate(classifier, x.images, x.labels, norm="L2", eps=0.1, attacks=("apgd-ce",), batch_size=4)
        for x in (data.test.take(index), held)
    ]
    assert np.array_equal(evaluations[0].broken_by, evaluations[1].broken_by)
    assert np.array_equal(evaluations[0].label, data.test.labels[index])


def test_a_run_looks_at_its_images_before_it_begins(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    (victim,) = broken_tree(photographs, tmp_path, 1)
    (tmp_path / "tree" / "test").rename(tmp_path / "tree" / "val")
    victim = tmp_path / "tree" / "val" / victim.relative_to(tmp_path / "tree" / "test")

    def start(name: str, **transfer: Any) -> Any:
        settings = {"training": {"epochs": 1, "batch_size": 8}, "subset": {"size": 1.0}}
        study = Study(settings={"data": {"name": name}, **settings}, transfer=transfer)
        return prepare_study(study, RunFolder(tmp_path / "out"), NumpyBackend(), (), Terminal())

    whole, broken = f"folder:{photographs}?size={SIZE}", f"folder:{tmp_path / 'tree'}?size={SIZE}"
    for settings in ({"name": broken}, {"name": whole, "targets": [broken], "epochs": 1}):
        with pytest.raises(DataError, match=f"{victim}: expected an image that Pillow can read"):
            start(**settings)
        assert not (tmp_path / "out").exists()
        assert f"note: {tmp_path / 'tree'} has no folder test: the images in val are" in capsys.readouterr().err
    shutil.copy(sorted(photographs.glob("test/*/*.jpg"))[0], victim)
    assert [unit.name for unit in start(broken)] == ["arm"]


def test_an_augmentation_that_crops_needs_files(photographs: Path, tmp_path: Path) -> None:
    digits = get_dataset("digits")
    with pytest.raises(SpecError, match="crops images while they are decoded"):
        attrs.evolve(job(f"folder:{photographs}?size={SIZE}", tmp_path, NumpyBackend()), data=digits).check()


def test_worker_processes_change_nothing(photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for count in ("0", "2"):
        monkeypatch.setenv("SAT_WORKERS", count)
        keys = {"subset.strategy": "random", "training.epochs": 1}
        run_arm(job(f"folder:{photographs}?size={SIZE}", tmp_path / count / "a", NumpyBackend(), keys=keys))
    same_bytes(tmp_path / "0", tmp_path / "2")
