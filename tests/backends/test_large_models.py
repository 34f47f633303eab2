"""The paper's two networks at its image sizes, on two images each: weights, gradients, attack, training step."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from sat_core.attack_spec import AttackSpec
from sat_core.backend import Backend
from sat_core.classifier import Classifier
from sat_core.data import Examples
from sat_core.epoch_plan import EpochPlan
from sat_core.reference.losses import loss_and_gradient, weighted_mean
from sat_core.testing import samples
from sat_core.threat import THREAT_MODELS
from sat_core.training_spec import TrainingSpec

pytestmark = pytest.mark.backend

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
COUNTS = {
    ("wide-preact-resnet18", 10): 21_333_834,
    ("wide-preact-resnet18", 100): 21_380_004,
    ("resnet50", 200): 23_917_832,
    ("resnet50", 1000): 25_557_032,  # torchvision's own
}
TRAINING = TrainingSpec(epochs=1, batch_size=2, lr=0.01)


class Size(NamedTuple):
    """A network, and what the paper does with it: classes, shape of an image, ε in L2; width of its features."""

    model: str
    classes: int
    shape: tuple[int, int, int]
    eps: float
    width: int


CIFAR = Size("wide-preact-resnet18", 10, (32, 32, 3), 0.5, 512)
IMAGENET = Size("resnet50", 200, (224, 224, 3), 3.0, 2048)


class Large(NamedTuple):
    """A network of that size, and two images."""

    size: Size
    classifier: Classifier
    data: Examples


@pytest.fixture(scope="module", params=[CIFAR, IMAGENET], ids=lambda size: size.model)
def built(backend: Backend, request: pytest.FixtureRequest) -> tuple[Large, dict[str, np.ndarray]]:
    size = request.param
    options: dict[str, Any] = {"classes": size.classes, "image_shape": size.shape, "mean": MEAN, "std": STD}
    classifier, rng = backend.build(size.model, **options), np.random.default_rng(0)
    images = rng.integers(0, 256, (2, *size.shape), dtype=np.uint8)
    data = Examples(images, rng.integers(0, size.classes, 2), size.classes, "two images")
    state = classifier.state()
    largest = np.abs(classifier.logits(images)).max()
    state["fc.weight"] /= largest  # untrained, logits go up to thousands: a softmax of 0 and 1 has no gradient
    return Large(size, classifier, data), state


@pytest.fixture
def large(built: tuple[Large, dict[str, np.ndarray]]) -> Large:
    """The network, with the same weights in every test."""
    network, state = built
    network.classifier.load_state(state)
    return network


@pytest.mark.parametrize(("model", "classes"), COUNTS)
def test_networks_have_the_number_of_weights_that_is_known(backend: Backend, model: str, classes: int) -> None:
    shape = next(size.shape for size in (CIFAR, IMAGENET) if size.model == model)
    state = backend.new({"model": model, "classes": classes, "image_shape": shape, "mean": (), "std": ()}).state()
    assert sum(value.size for name, value in state.items() if "running" not in name) == COUNTS[model, classes]


def test_logits_are_the_last_layer_of_the_features(large: Large) -> None:
    images, state = large.data.images, large.classifier.state()
    logits, features = large.classifier.logits(images), large.classifier.features(images)
    assert logits.shape == (2, large.size.classes)
    assert features.shape == (2, large.size.width)
    assert np.isfinite(logits).all()
    assert np.abs(logits[0] - logits[1]).max() > 1e-3
    np.testing.assert_allclose(features @ state["fc.weight"].T + state["fc.bias"], logits, atol=1e-5)


def test_gradients_go_back_to_the_images(large: Large) -> None:
    images, labels = large.data.images, large.data.labels
    logits, losses, gradient = large.classifier.loss_gradient(images, labels)
    expected, _ = loss_and_gradient(logits.astype(np.float64), labels)
    np.testing.assert_allclose(losses, expected, atol=1e-5)
    assert gradient.shape == images.shape
    largest = np.abs(gradient).reshape(2, -1).max(axis=1)
    assert (largest > 0).all()


@pytest.mark.parametrize("norm", ["L2", "Linf"])
def test_an_attack_of_two_steps_stays_in_the_ball_and_raises_every_loss(large: Large, norm: str) -> None:
    images, labels, state = large.data.images, large.data.labels, large.classifier.state()
    eps = large.size.eps if norm == "L2" else 8 / 255
    attack = AttackSpec(norm=norm, eps=eps, steps=2, step_size=0.75 * eps)
    adversarial, clean = large.classifier.perturb(images, labels, attack), large.data.float_images()
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    distance = THREAT_MODELS.get(norm).size(adversarial - clean)
    assert (distance > 0.8 * eps).all()  # further than one step
    assert (distance <= eps + 1e-6).all()
    before, after = (large.classifier.loss_gradient(x, labels)[1] for x in (images, adversarial))
    assert (after > before + 0.01).all()
    assert all(np.array_equal(value, state[name]) for name, value in large.classifier.state().items())


def plan(members: list[bool]) -> EpochPlan:
    return samples.same_batch(np.array(members), np.where(members, 3, 1), TRAINING.lr)


def test_a_training_step_attacks_its_member_and_moves_weights_and_statistics(backend: Backend, large: Large) -> None:
    before, eps = large.classifier.state(), large.size.eps
    attack = AttackSpec(norm="L2", eps=eps, steps=2, step_size=0.75 * eps)
    trainer = backend.trainer(large.classifier, large.data, TRAINING, attack)
    made: list[np.ndarray] = []
    for batch in (plan([False, False]), plan([True, False])):
        large.classifier.load_state(before)
        (loss,), logits = trainer.run(batch), trainer.logits()
        losses, _ = loss_and_gradient(logits.astype(np.float64), large.data.labels)
        assert np.isfinite(loss)
        assert loss == pytest.approx(weighted_mean(losses, batch.weights[0]), abs=1e-5)
        made.append(logits)
    assert np.abs(made[1] - made[0]).max() > 0.01 * np.abs(made[0]).max()
    after = large.classifier.state()
    assert [name for name, value in after.items() if np.array_equal(value, before[name])] == []
    assert all(np.isfinite(value).all() for value in after.values())
    assert any("running_mean" in name for name in after)


def test_a_head_for_another_task_learns_and_nothing_else(backend: Backend, large: Large) -> None:
    """257 classes on frozen features: 267,786 weights for CIFAR-10 (recipe, section 1.4), by the same count."""
    size, classes = large.size, 10 if large.size is CIFAR else 257
    made = large.classifier.with_head(classes, seed=1)
    before = made.state()
    before["fc.out.weight"] /= np.abs(made.logits(large.data.images)).max()
    head = {name for name in before if name.startswith("fc.")}
    weights = sum(before[name].size for name in head)
    assert weights == size.width * (size.width + 1) + (size.width + 1) * classes
    assert weights == 267_786 or size is not CIFAR
    data = Examples(large.data.images, np.array([1, classes - 1]), classes, "two images of another task")
    ends = []
    for features in (large.classifier.features(data.images), None):
        made.load_state(before)
        trainer = backend.trainer(made, data, TRAINING, AttackSpec(), features)
        trainer.run(plan([False, False]))
        ends.append(made.state())
        changed = {name for name, value in ends[-1].items() if not np.array_equal(value, before[name])}
        assert changed == head
    for name in head:
        np.testing.assert_allclose(ends[0][name], ends[1][name], atol=1e-5, rtol=1e-4)
    made.load_state(before)
    attack = AttackSpec(norm="L2", eps=size.eps, steps=1, step_size=size.eps / 2)
    adversarial = made.perturb(data.images, data.labels, attack)
    moved = THREAT_MODELS.get("L2").size(adversarial - data.float_images())
    assert (moved > 0).all()
    assert (moved <= size.eps + 1e-5).all()
