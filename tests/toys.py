"""Small problems for all rooms: data, networks, arms on the numpy reference, results; and two runs compared."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sat_core import files
from sat_core.accuracy import wilson
from sat_core.arm_results import ArmResults
from sat_core.attack_spec import AttackSpec
from sat_core.autoattack import AttackSettings
from sat_core.backend import Backend
from sat_core.classifier import Classifier
from sat_core.data import DataSet, Examples
from sat_core.difficulty import STREAMED
from sat_core.evaluation import MISCLASSIFIED, ROBUST, Evaluation
from sat_core.job import Job
from sat_core.json_fields import to_json
from sat_core.reference import NumpyBackend
from sat_core.run_folder import RunFolder
from sat_core.spec import Spec
from sat_core.tables import nest
from sat_core.unit_folder import UnitFolder


def pgd_evaluator(
    classifier: Classifier, images: np.ndarray, labels: np.ndarray, *, norm: str, eps: float, **options: Any
) -> Evaluation:
    """Attack with PGD in place of AutoAttack, which needs torch."""
    images = images[np.arange(len(labels))]
    options["progress"](0.5, "pgd")
    attack = AttackSpec(norm=norm, eps=eps, steps=10)
    correct = classifier.logits(images).argmax(1) == labels
    robust = classifier.logits(classifier.perturb(images, labels, attack)).argmax(1) == labels
    broken_by = np.where(correct, np.where(robust, ROBUST, 0), MISCLASSIFIED)
    attacks = (AttackSettings(name="pgd", iterations=10),)
    return Evaluation(
        label=labels, broken_by=broken_by, attacks=attacks, norm=norm, eps=eps, package="numpy 2", engine="pgd"
    )


def bands(
    count: int, classes: int, shape: tuple[int, int, int], rng: np.random.Generator, noise: float, light: float
) -> tuple[np.ndarray, np.ndarray]:
    """Make images and labels: each class has a bright band of its own, one below the other, in uniform noise."""
    labels = np.arange(count) % classes
    images = rng.random((count, *shape)).astype(np.float32) * noise
    for c in range(classes):
        images[labels == c, shape[0] * c // classes : shape[0] * (c + 1) // classes] += light
    return images, labels


def toy(n: int = 90, seed: int = 0) -> DataSet:
    """Three classes of 6 x 6 grey images: `n` to train on and 60 for validation."""
    rng = np.random.default_rng(seed)
    train, test = (
        Examples(*bands(count, 3, (6, 6, 1), rng, noise=0.6, light=0.35), 3, name)
        for count, name in ((n, "train"), (60, "test"))
    )
    return DataSet(name="toy", train=train, test=test, class_names=("a", "b", "c"), mean=(0.4,), std=(0.3,))


def digits(path: Path, *, high: bool = False, test: int = 60) -> Path:
    """An .npz data set of real digits: 160 and `test` images of 0 to 4, or 200 and 100 of 5 to 9 at 16 x 16 pixels."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = (images / 16).reshape(-1, 8, 8, 1).astype(np.float32)
    if high:
        x, y, train, test = images[labels >= 5].repeat(2, axis=1).repeat(2, axis=2), labels[labels >= 5] - 5, 200, 100
    else:
        x, y, train = images[labels < 5], labels[labels < 5], 160
    held = slice(train, train + test)
    np.savez(path, x_train=x[:train], y_train=y[:train], x_test=x[held], y_test=y[held])
    return path


def own_network(backend: Backend, seed: int = 0) -> Any:
    """A user's network for `samples.SHAPE` and 5 classes, with BatchNorm and dropout; Keras builds it when called."""
    with backend.seeded(seed):
        if backend.name == "torch":
            from torch import nn

            convolution = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
            return nn.Sequential(*convolution, nn.Flatten(), nn.Dropout(), nn.Linear(144, 5))
        import keras
        from keras import layers

        convolution = (layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU())
        return keras.Sequential([*convolution, layers.Flatten(), layers.Dropout(0.5), layers.Dense(5)])


def job(directory: Path, **changes: Any) -> Job:
    keys = {
        "data.name": "toy",
        "model.name": "linear",
        "training.epochs": 4,
        "training.batch_size": 16,
        "training.lr": 0.05,
        "subset.size": 0.5,
        "evaluation.selection_share": 0.3,
        **changes.pop("keys", {}),
    }
    options = {"data": toy(), "backend": NumpyBackend(), "evaluator": pgd_evaluator, **changes}
    return Job(spec=Spec.from_tables(nest(keys)), folder=UnitFolder(directory), **options)


OUTCOME = ("*.npz", "*.safetensors", "split.json", "selection.json", "spec.toml", "results.json")
"""Scores, rankings, splits, weights and flags; logs and progress are left out."""


def same_bytes(one: Path, other: Path, patterns: tuple[str, ...] = ("*",)) -> None:
    """Check that two folders are the same byte for byte, except for times, also for those that were expected."""

    def names(root: Path) -> list[Path]:
        paths = {path for pattern in patterns for path in root.rglob(pattern)}
        return sorted(p.relative_to(root) for p in paths if p.is_file() and not p.name.startswith("."))

    assert names(one)
    assert names(one) == names(other)
    for name in names(one):
        first, second = (one / name).read_bytes(), (other / name).read_bytes()
        if name.name == "results.json":
            contents = [json.loads(text) for text in (first, second)]
            for content in contents:
                del content["cost"]["seconds"], content["cost"]["expected_seconds"]
            assert contents[0] == contents[1]
        elif name.name != "seconds.json":
            assert first == second, name


def accuracy(value: float, n: int) -> Any:
    """An accuracy as it stands in files."""
    return to_json(wilson(round(value * n), n))


def contents(
    name: str,
    spec: Spec,
    *,
    size: int,
    robust: float,
    clean: float = 0.96,
    units: int | None = None,
    chosen: Sequence[int] = (),
    parts: tuple[float, float] | None = None,
    per_class: Sequence[float | None] | None = None,
    names: Sequence[str] | None = None,
    n: int = 400,
    source: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A results.json: |A| = `size` of 1000. parts: accuracies on A and on B. source: of a head, that of its source."""
    names = names or ("c0", "c1", "c2", "c3")
    in_a, in_b = (None, None) if parts is None else (accuracy(p, n) for p in parts)
    by_class = [None if v is None else accuracy(v, 100) for v in per_class or [None] * len(names)]
    whole = {"all": accuracy(robust, n), "A": in_a, "B": in_b}
    ours = ("run", "fingerprint", "spec", "split", "cost", "clean_accuracy", "robust_accuracy", "backend", "data")
    moved = {"source": {key: {"run": "../run", "fingerprint": "0", **source}[key] for key in ours}} if source else {}
    epoch = 7 + spec.training.seed
    attacks = ("apgd-ce", "apgd-t", "fab-t", "square")
    content = {
        "arm": name,
        "spec": spec.to_tables(),
        "backend": "torch",
        "device": "cpu",
        "devices": [1],
        "versions": {"sat-core": "0"},
        "seeds": {"training": spec.training.seed, "ranking": None, "selection_split": 0, "attack": 0},
        "data": {
            "name": "digits",
            "fingerprint": "0",
            "classes": list(names),
            "image_shape": [8, 8, 1],
            "mean": [0.3],
            "std": [0.4],
            "train": 1000,
            "test": n,
        },
        **moved,
        "ranking": None,
        "split": {
            "kind": spec.subset.kind,
            "strategy": spec.subset.strategy,
            "size": size,
            "units": size if units is None else units,
            "share": size / 1000,
            "classes": list(chosen),
            "weights": [1.0, 1.0],
        },
        "selection": {
            "epoch": epoch,
            "attacks": "standard",
            "checks": [{"epoch": epoch, "clean_accuracy": whole, "robust_accuracy": whole}],
        },
        "clean_accuracy": {**whole, "all": accuracy(clean, n), "per_class": by_class},
        "robust_accuracy": {**whole, "per_class": by_class},
        "attacks": {
            "norm": spec.attack.norm,
            "eps": spec.attack.eps,
            "level": "standard",
            "package": "pyautoattack 0.2.0",
            "engine": "package",
            "precision": "float32",
            "batch_size": 250,
            "breakdown": [{"name": name, "restarts": 1, "broken": 0, "robust_accuracy": robust} for name in attacks],
            "warnings": [],
        },
        "cost": {
            "attack_gradients": 7 * size,
            "training_gradients": 1000,
            "ranking_gradients": 600,
            "selection_forwards": 0,
            "full_at_gradients": 8000,
            "seconds": {"ranking": None, "training": 60.0, "selection": 1.0, "evaluation": 5.0},
            "expected_seconds": None,
        },
        "epochs": spec.training.epochs,
        "losses": [1.5],
        "warnings": [],
        "experiment": "0",
    }
    copied: dict[str, Any] = json.loads(json.dumps(content))  # no part of it stands in two places
    return copied


def result(
    size: int, robust: float, clean: float = 0.96, *, strategy: str = "hardest", seed: int = 0, **options: Any
) -> dict[str, Any]:
    """`contents` of an arm of its own. options: those of `contents`, `kind`, and settings as section__key = value."""
    tables: dict[str, Any] = {"data": {"name": "digits"}, "training": {"epochs": 10, "seed": seed}}
    chosen = tuple(options.get("chosen", ()))
    choice = {"classes": list(chosen)} if strategy == "listed" else {"size": size / 1000}
    tables["subset"] = {"kind": options.pop("kind", "examples"), "strategy": strategy, **choice}
    for name in [name for name in options if "__" in name]:
        section, key = name.split("__")
        tables.setdefault(section, {})[key] = options.pop(name)
    spec = Spec.from_tables(tables)
    return contents(f"{strategy}-{size}-{seed}", spec, size=size, robust=robust, clean=clean, **options)


def as_rows(results: Iterable[dict[str, Any]]) -> Any:
    """The rows of contents of results.json."""
    from sat_evaluation.results.rows import collect

    return collect(ArmResults.from_json(content) for content in results)


def write_ranking(folder: RunFolder, scores: dict[str, np.ndarray]) -> None:
    """A ranking with these scores; the others that each has are those of the first."""
    some = next(iter(scores.values()))
    facts = {"seed": np.array(0), "gradients": np.array(1), files.EXPERIMENT: np.array("0")}
    arrays = {**{metric.name: some for metric in STREAMED}, **scores, **facts, "places": np.arange(len(some))}
    files.write_npz(folder.ranking.ranking_file, arrays)


NONE, HALF, ALL = result(0, 0.43), result(500, 0.815), result(1000, 0.83)


SEEN_ONCE = ("normalise inside the model", "index: expected numbers of the 16 examples of the split")
"""What the checks say that look at values, in the first batch only."""
WRONG_BATCHES: tuple[tuple[str, Any, str], ...] = (
    ("images", lambda x: (x * 255).astype(np.uint8), r"got uint8\s+convert them to float32 and divide by 255"),
    ("images", lambda x: x[0], r"expected images \(n, ., ., .\), labels \(n,\), index \(n,\)"),
    ("images", lambda x: x * 3 - 1, SEEN_ONCE[0]),
    ("labels", lambda y: y.astype(np.float32), "labels: expected integers, got float32"),
    ("labels", lambda y: y[:, None], r"labels \(n,\).* got shapes .*\(16, 1\), \(16,\)"),
    ("labels", lambda y: y[:3], r"got shapes .*\(3,\), \(16,\)"),
    ("index", lambda i: i > 3, "index: expected integers, got bool"),
    ("index", lambda i: np.where(i == 15, 16, i), SEEN_ONCE[1]),
    ("index", lambda i: i - 1, SEEN_ONCE[1]),
)
"""Which tensor of a batch of 16 examples, what is wrong with it, and the message of `SubsetAdversarialStep`."""
