"""The front door on each backend: named models, one's own, arrays, checkpoints; resumed, silent, in notebooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toys import digits

import sat_core as sat
from sat_core import checkpoint
from sat_core.backend import Backend
from sat_core.errors import DataError, RunDirectoryError, SpecError, TrainingError
from sat_core.loss_spec import LossSpec
from sat_core.spec import Spec

pytestmark = pytest.mark.backend

RANKED = {"training.threads": 1, "training.batch_size": 32}
"""TensorFlow takes no other number of threads after its first computation."""
QUICK = {
    **RANKED,
    "training.lr": 0.02,
    "evaluation.attacks": ["apgd-ce"],
    "evaluation.selection_attacks": ["apgd-ce"],
    "evaluation.selection_epochs": [2],
    "evaluation.examples": 24,
}


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """160 real digits of five classes to train on, 60 to test."""
    return dict(np.load(digits(tmp_path_factory.mktemp("data") / "digits.npz")))


def own(backend: Backend, seed: int = 0) -> Any:
    """A small network of the user's, for images (8, 8, 1) in [0, 1] and five classes."""
    with backend.seeded(seed):
        if backend.name == "torch":
            from torch import nn

            return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 5))
        import keras
        from keras import layers

        return keras.Sequential(
            [keras.Input((8, 8, 1)), layers.Conv2D(8, 3), layers.ReLU(), layers.Flatten(), layers.Dense(5)]
        )


def train(model: Any, data: Any, **options: Any) -> sat.TrainingResult:
    settings = {**QUICK, **options.pop("settings", {})}
    return sat.train(model, data, **{"epochs": 2, "progress": False, "settings": settings, **options})


@pytest.fixture(scope="module")
def named(backend: Backend, arrays: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A named model, trained with everything kept in a folder."""
    out = tmp_path_factory.mktemp("named") / "run"
    return train("small-cnn", arrays, backend=backend.name, eps="1/2", out=out)


def test_a_named_model_on_arrays(named: sat.TrainingResult, arrays: dict[str, np.ndarray]) -> None:
    assert named.robust_accuracy.n == 24
    low, high = named.robust_accuracy.interval
    assert low <= named.robust_accuracy.value <= high
    assert named.robust_accuracy.value <= named.clean_accuracy.value
    assert named.results.robust_accuracy == named.robust_accuracy
    assert named.split.size == 80
    hardest = named.ranking.hardest_first()[:80]
    assert set(np.flatnonzero(named.split.members)) == set(hardest.tolist())
    adversarial = named.classifier.perturb(arrays["x_test"][:4], arrays["y_test"][:4])
    assert np.linalg.norm((adversarial - arrays["x_test"][:4]).reshape(4, -1), axis=1).max() <= 0.5 + 1e-6


def test_the_folder_continues_and_refuses_other_settings(
    named: sat.TrainingResult, arrays: dict[str, np.ndarray], backend: Backend
) -> None:
    before = {path: path.stat().st_mtime_ns for path in named.folder.rglob("*.npz")}
    again = train("small-cnn", arrays, backend=backend.name, eps=0.5, out=named.folder)
    assert again.results == named.results
    assert {path: path.stat().st_mtime_ns for path in named.folder.rglob("*.npz")} == before
    with pytest.raises(RunDirectoryError, match=r"attack.eps is 0.5 there and 0.25 here"):
        train("small-cnn", arrays, backend=backend.name, eps=0.25, out=named.folder)


def test_ones_own_model_is_trained_in_place(backend: Backend, arrays: dict[str, np.ndarray]) -> None:
    model, data = own(backend), ((arrays["x_train"], arrays["y_train"]), (arrays["x_test"], arrays["y_test"]))
    result = train(model, data, eps=0.3, strategy="random", subset=40)
    assert result.ranking is None
    assert result.folder is None
    assert result.split.size == 40
    assert result.classifier.native is model
    with pytest.raises(SpecError, match="perturb: expected an attack, got none"):
        backend.wrap(model, image_shape=(8, 8, 1)).perturb(arrays["x_test"][:4], arrays["y_test"][:4])
    correct = result.classifier.logits(arrays["x_train"]).argmax(1) == arrays["y_train"]
    first = backend.wrap(own(backend), classes=5, image_shape=(8, 8, 1))
    assert correct.mean() > (first.logits(arrays["x_train"]).argmax(1) == arrays["y_train"]).mean()


def test_attack_loss_averaging_and_tables_of_settings(
    backend: Backend, arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    options: dict[str, Any] = {"attack": "rs-fgsm", "loss": "trades", "averaging": "ema:0.5", "strategy": "random"}
    tables = {"training": {"clip_norm": 1, "warmup": "3steps"}, "loss": {"beta": [12, 6]}, "attack.loss": "ce"}
    result = train(own(backend), arrays, eps=0.3, out=tmp_path / "run", settings=tables, **options)
    spec = Spec.from_tables(result.results.spec)
    assert (spec.attack.kind, spec.attack.loss, spec.loss) == ("rs-fgsm", "ce", LossSpec(kind="trades", beta=(12, 6)))
    assert (spec.training.averaging, spec.training.clip_norm, spec.training.warmup) == ("ema:0.5", 1.0, "3steps")
    assert result.results.collapse is not None
    last = checkpoint.read(next(result.folder.rglob("checkpoint-last.safetensors"))).groups
    # The best epoch is the last, but the classifier has the average of the weights, not the last of them.
    state, names = result.classifier.state(), last["model"]
    assert all(np.array_equal(state[name], last["trainer"][f"average.{name}"]) for name in names)
    assert any(not np.array_equal(state[name], last["model"][name]) for name in names)
    with pytest.raises(SpecError, match=r"loss\.kind: expected one of .* \(did you mean 'trades'\?\), got 'trade'"):
        train(own(backend), arrays, loss="trade")


def test_classes_by_name_and_a_ranking_made_before(backend: Backend, arrays: dict[str, np.ndarray]) -> None:
    model = own(backend)
    before = backend.wrap(model, classes=5, image_shape=(8, 8, 1)).state()
    ranking = sat.rank(model, arrays, epochs=2, settings=RANKED, progress=False)
    after = backend.wrap(model, classes=5, image_shape=(8, 8, 1)).state()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert sorted(ranking.hardest_first("error").tolist()) == list(range(160))
    result = train(model, arrays, eps=0.3, ranking=ranking)
    assert set(np.flatnonzero(result.split.members)) == set(ranking.hardest_first()[:80].tolist())
    listed = train(own(backend), {**arrays, "class_names": np.array(list("abcde"))}, eps=0.3, subset=["b", 3])
    assert listed.split.classes == (1, 3)


def test_evaluate_takes_models_results_and_checkpoints(
    named: sat.TrainingResult, backend: Backend, arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    images, labels = arrays["x_test"][:10], arrays["y_test"][:10]
    options: dict[str, Any] = {"eps": "8/255", "norm": "Linf", "attacks": ["apgd-ce"], "progress": False}
    found = sat.evaluate(named, images, labels, **options)
    best = next(named.folder.rglob("checkpoint-best.safetensors"))
    loaded = sat.evaluate(best, images, labels, backend=backend.name, **options)
    assert found.robust.tolist() == loaded.robust.tolist()
    assert found.robust_accuracy.n == 10
    few = labels < 3  # the network has five classes, whatever the labels show of them
    evaluation = sat.evaluate(own(backend), images[few], labels[few], out=tmp_path / "e.npz", **options)
    assert (tmp_path / "e.npz").exists()
    assert evaluation.robust.shape == (few.sum(),)
    normalised = sat.evaluate(own(backend), images, labels, mean=(0.5,), std=(0.25,), **options)
    assert normalised.label.tolist() == labels.tolist()


def test_grey_images_and_one_attack_are_taken_and_wrong_images_are_named(
    backend: Backend, arrays: dict[str, np.ndarray]
) -> None:
    images, labels = arrays["x_test"][:4], arrays["y_test"][:4]
    options: dict[str, Any] = {"eps": 3.0, "norm": "L2", "attacks": "apgd-ce", "progress": False}
    evaluation = sat.evaluate(own(backend), images[..., 0], labels, **options)
    assert [attack.name for attack in evaluation.attacks] == ["apgd-ce"]
    with pytest.raises(DataError, match="images: expected float pixels in"):
        sat.evaluate(own(backend), images * 255, labels, **options)
    with pytest.raises(DataError, match="channels last"):
        sat.evaluate(own(backend), np.zeros((4, 3, 8, 8), np.float32), labels, **options)


def test_a_ranking_that_fails_gives_the_weights_back(backend: Backend, arrays: dict[str, np.ndarray]) -> None:
    model = own(backend)
    before = backend.wrap(model, image_shape=(8, 8, 1)).state()
    settings = {**RANKED, "training.lr": 1e30, "training.weight_decay": 0.0}
    with pytest.raises(TrainingError, match="the loss became"):
        sat.rank(model, arrays, epochs=2, settings=settings, progress=False)
    after = backend.wrap(model, image_shape=(8, 8, 1)).state()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_bar_is_shown_unless_it_is_not_wanted(
    backend: Backend, arrays: dict[str, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {"epochs": 1, "settings": RANKED}
    sat.rank(own(backend), arrays, **options)
    assert "ranking" in capsys.readouterr().out
    sat.rank(own(backend), arrays, progress=False, **options)
    assert capsys.readouterr() == ("", "")


def test_what_notebooks_show(named: sat.TrainingResult) -> None:
    import pandas

    html = named._repr_html_()
    assert "robust accuracy" in html
    assert str(named.robust_accuracy) in html
    assert "Ranking" in named.ranking._repr_html_()
    frame = named.ranking.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert len(frame) == 160


@pytest.mark.parametrize(
    ("model", "options", "error", "says"),
    [
        (object(), {}, SpecError, "model: expected a model of "),
        ("smal-cnn", {}, SpecError, r"unknown model 'smal-cnn' \(did you mean 'small-cnn'"),
        ("small-cnn", {"eps": 9.0}, SpecError, "attack.eps: expected less than"),
        ("small-cnn", {"subset": 2.0}, SpecError, "subset.size"),
        ("small-cnn", {"subset": np.int64(161)}, SpecError, "subset.size: expected at most 160, got 161"),
        ("small-cnn", {"subset": [1, 2], "strategy": "random"}, SpecError, "strategy: .* is .listed., got 'random'"),
        ("small-cnn", {"subset": [1, 2], "by": "examples"}, SpecError, "by: .* is .classes., got 'examples'"),
        ("small-cnn", {"subset": "cat"}, SpecError, "no class is called 'cat'"),
        ("small-cnn", {"settings": {"training.lrr": 1}}, SpecError, r"did you mean 'training.lr'"),
        ("small-cnn", {"settings": {"training.lr": [0.1, 0.2]}}, SpecError, "training.lr"),
        ("small-cnn", {"data": np.zeros((4, 8, 8, 1))}, DataError, r"give \(train, test\)"),
        ("small-cnn", {"data": {"x_train": np.zeros((4, 8, 8, 1))}}, DataError, "got no y_train"),
        (
            "small-cnn",
            {"data": (({1}, [0]), ([0], [0]))},
            DataError,
            r"train: item 0: expected \(image, label\), got set",
        ),
    ],
)
def test_what_is_refused_before_anything_is_trained(
    arrays: dict[str, np.ndarray],
    tmp_path: Path,
    model: Any,
    options: dict[str, Any],
    error: type[Exception],
    says: str,
) -> None:
    data = options.pop("data", arrays)
    with pytest.raises(error, match=says):
        train(model, data, out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_study_from_python(backend: Backend, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"data.name": f"npz:{digits(tmp_path / 'digits.npz')}", "training.epochs": 1, **QUICK}
    settings |= {"evaluation.selection_epochs": [1], "subset.size": [0.0, 1.0], "attack.eps": 0.5}
    study = sat.Study.from_tables({"data": {"name": "x"}, "training": {"epochs": 1}}).set(settings)
    results = study.run(tmp_path / "out", backend=backend.name, progress=False)
    assert capsys.readouterr() == ("", "")
    assert [arm.split.size for arm in results] == [0, 160]
    html = results._repr_html_()
    assert "plain training" in html
    assert "full AT" in html
    assert (tmp_path / "out/summary.csv").exists()
    with pytest.raises(SpecError, match="multiple of the 7 devices"):
        study.run(tmp_path / "more", backend=backend.name, progress=False, devices=7)
    assert not (tmp_path / "more").exists()
