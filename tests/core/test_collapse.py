"""The signs of catastrophic overfitting: their values, when they are measured, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toys import job, toy

from sat_core.attack_spec import AttackSpec
from sat_core.classifier import Classifier
from sat_core.collapse import collapse, gradient_alignment, pgd_accuracy
from sat_core.ranking import Ranking
from sat_core.threat import THREAT_MODELS

DATA = toy(40).train
ATTACK = AttackSpec(kind="fgsm", norm="Linf", eps=0.2)


def linear(tmp_path: Path, scale: float) -> Classifier:
    """z = W·x + b with weights of this size."""
    classifier = job(tmp_path).build()
    rng = np.random.default_rng(0)
    classifier.load_state(
        {name: rng.normal(0, scale, v.shape).astype(v.dtype) for name, v in classifier.state().items()}
    )
    return classifier


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_alignment_is_the_mean_cosine_of_two_gradients(tmp_path: Path, norm: str) -> None:
    """Of a linear network they are W'(p - onehot(y))."""
    classifier, attack = linear(tmp_path, 0.5), AttackSpec(kind="fgsm", norm=norm, eps=0.9 if norm == "Linf" else 3.0)
    (weights,) = (v for v in classifier.state().values() if v.ndim == 2)
    noise = THREAT_MODELS.get(norm).random_start(np.random.default_rng(7), DATA.images.shape, attack.eps)
    gradients = []
    for images in (DATA.images, np.clip(DATA.images + noise, 0, 1)):
        odds = np.exp(classifier.logits(images.astype(np.float32)).astype(np.float64))
        gradients.append((odds / odds.sum(1, keepdims=True) - np.eye(3)[DATA.labels]) @ weights)
    first, second = gradients
    cosines = (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    assert cosines.min() < 0.9
    rng = np.random.default_rng(7)
    assert gradient_alignment(classifier, DATA.images, DATA.labels, attack, rng) == pytest.approx(
        cosines.mean(), abs=1e-5
    )


def test_images_without_a_gradient_say_nothing(tmp_path: Path) -> None:
    classifier = linear(tmp_path, 1e5)
    predicted = classifier.logits(DATA.images).argmax(1)
    attack = AttackSpec(kind="fgsm", norm="Linf", eps=1e-6)
    assert gradient_alignment(classifier, DATA.images, predicted, attack, np.random.default_rng(0)) == 0
    # One of them is taken for another class: its gradient does not turn.
    one = np.where(np.arange(len(predicted)) == 3, (predicted + 1) % 3, predicted)
    aligned = gradient_alignment(classifier, DATA.images, one, attack, np.random.default_rng(0))
    assert aligned == pytest.approx(1, abs=1e-6)


def test_the_accuracy_is_that_of_ten_steps(tmp_path: Path) -> None:
    classifier = linear(tmp_path, 0.5)
    images, labels = DATA.images, classifier.logits(DATA.images).argmax(1)
    assert pgd_accuracy(classifier, images, labels, AttackSpec(kind="fgsm", norm="Linf", eps=1e-6)) == 1
    assert pgd_accuracy(classifier, images, labels, AttackSpec(kind="fgsm", norm="Linf", eps=0.9)) == 0


def test_a_fall_below_half_is_told_with_both_numbers() -> None:
    line = collapse([0.3, 0.5, 0.26, 0.24, 0.0], [0.8, 0.9, 0.85, 0.125, 0.0])
    assert line is not None
    assert "fell from 50 % to 24 % in epoch 4, and gradient alignment from 0.90 to 0.12" in line
    assert collapse([0.3, 0.5, 0.26], [0.9, 0.9, 0.1]) is None
    assert collapse([0.19, 0.0], [0.9, 0.1]) is None  # it was never robust
    assert collapse([], []) is None


@pytest.mark.parametrize(
    ("keys", "watched"),
    [
        ({"attack.kind": "rs-fgsm"}, True),
        ({"attack.kind": "n-fgsm", "subset.size": 5}, True),
        ({"attack.kind": "free"}, True),
        ({"attack.steps": 1}, True),
        ({}, False),
        ({"attack.kind": "fgsm", "subset.size": 0}, False),
    ],
)
def test_trainings_with_a_single_step_are_watched(tmp_path: Path, keys: dict[str, object], watched: bool) -> None:
    arm = job(tmp_path, keys={"subset.strategy": "random", "training.epochs": 2, **keys})
    fit = arm.fit(arm.build(), Ranking().split(arm), "")
    at = fit.run()
    assert len(at.pgd_accuracy) == len(at.gradient_alignment) == 2 * watched
    assert fit.warnings() == []
    if watched:
        at.pgd_accuracy[:], at.gradient_alignment[:] = [0.9, 0.1], [1.0, 0.5]
        assert fit.warnings()[0].startswith("catastrophic overfitting")
