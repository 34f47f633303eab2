"""A small problem with its arms on the numpy reference, which tests of whole runs share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from sat_core.classifier import Classifier
from sat_core.data import DataSet, Examples
from sat_core.evaluation import MISCLASSIFIED, ROBUST, Evaluation
from sat_core.job import Job
from sat_core.reference import NumpyBackend
from sat_core.sections import AttackSpec
from sat_core.spec import Spec
from sat_core.tables import nest


def pgd_evaluator(
    classifier: Classifier, images: np.ndarray, labels: np.ndarray, *, norm: str, eps: float, **options: Any
) -> Evaluation:
    """A real, if weak, attack in AutoAttack's place, which needs torch."""
    images = images[np.arange(len(labels))]
    options["progress"](0.5, "pgd")
    attack = AttackSpec(norm=norm, eps=eps, steps=10)
    correct = classifier.logits(images).argmax(1) == labels
    robust = classifier.logits(classifier.perturb(images, labels, attack)).argmax(1) == labels
    broken_by = np.where(correct, np.where(robust, ROBUST, 0), MISCLASSIFIED)
    table = ({"name": "pgd", "iterations": 10},)
    return Evaluation(
        label=labels, broken_by=broken_by, attacks=table, norm=norm, eps=eps, package="numpy 2", engine="pgd"
    )


def toy(n: int = 90, seed: int = 0) -> DataSet:
    """Three classes that differ in which third of the image is bright."""
    rng = np.random.default_rng(seed)

    def part(count: int, name: str) -> Examples:
        labels = np.arange(count) % 3
        images = rng.random((count, 6, 6, 1)).astype(np.float32) * 0.6
        for c in range(3):
            images[labels == c, 2 * c : 2 * c + 2] += 0.35
        return Examples(images, labels, 3, name)

    return DataSet(
        name="toy", train=part(n, "train"), test=part(60, "test"), class_names=("a", "b", "c"), mean=(0.4,), std=(0.3,)
    )


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
    return Job(spec=Spec.from_tables(nest(keys)), directory=directory, **options)


def same_bytes(one: Path, other: Path) -> None:
    """Everything but times is the same, byte for byte."""
    names = sorted(p.relative_to(one) for p in one.rglob("*") if p.is_file() and not p.name.startswith("."))
    assert names == sorted(p.relative_to(other) for p in other.rglob("*") if p.is_file() and not p.name.startswith("."))
    for name in names:
        first, second = (one / name).read_bytes(), (other / name).read_bytes()
        if name.name == "results.json":
            contents = [json.loads(text) for text in (first, second)]
            for content in contents:
                del content["cost"]["seconds"]
            assert contents[0] == contents[1]
        elif name.name != "seconds.json":
            assert first == second, name


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
