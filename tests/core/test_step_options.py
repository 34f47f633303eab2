"""Options of a step in the oracle, by hand where that is possible."""

from __future__ import annotations

import attrs
import numpy as np
import pytest

from sat_core.attack_spec import AttackSpec
from sat_core.classifier import Classifier, State
from sat_core.epoch_plan import EpochPlan
from sat_core.errors import SpecError
from sat_core.reference import NumpyBackend, NumpyClassifier, loss_and_gradient
from sat_core.reference.layers import Pass
from sat_core.testing import samples
from sat_core.testing.options import OPTIONS
from sat_core.trainer import Trainer

PLAIN = {"precision": "float64", "momentum": 0.0, "weight_decay": 0.0}


def _steps(name: str, **training: object) -> tuple[NumpyClassifier, Trainer, EpochPlan]:
    backend = NumpyBackend()
    classifier = samples.build(backend, "small-cnn")
    trainer, plans = OPTIONS[name].trainer(backend, classifier, **{**PLAIN, **training})
    trainer.begin(plans[0])
    assert isinstance(classifier, NumpyClassifier)
    return classifier, trainer, plans[0]


def test_the_average_is_the_one_of_its_definition() -> None:
    classifier, trainer, plan = _steps("EMA")
    average: State = classifier.state()
    for step in range(plan.steps):
        trainer.step(step)
        decay = min(0.9, (1 + step) / (10 + step))
        average = {name: decay * average[name] + (1 - decay) * value for name, value in classifier.state().items()}
    with trainer.averaged():
        for name, value in classifier.state().items():
            np.testing.assert_allclose(value, average[name], rtol=1e-12)


def test_mixed_images_are_pixels_of_both_and_so_are_targets() -> None:
    for name in ("mixup", "CutMix"):
        backend = NumpyBackend()
        classifier = samples.build(backend, "linear")
        trainer, (plan, *_) = OPTIONS[name].trainer(backend, classifier, augmentation="none")
        # Nobody is attacked, and a step of no length: the logits are those of the mixed images.
        trainer.begin(attrs.evolve(plan, members=np.zeros_like(plan.members), lr=0 * plan.lr))
        trainer.step(0)
        images = samples.examples(40, whole=True).images[plan.index[0]] / 255
        assert plan.mixes is not None
        others, share = images[plan.mixes.partner[0]], plan.mixes.share[0]
        if plan.mixes.box is None:
            mixed = share * images + (1 - share) * others
        else:
            top, bottom, left, right = plan.mixes.box[0]
            inside = np.zeros((8, 8, 1), bool)
            inside[top:bottom, left:right] = True
            mixed = np.where(inside, others, images)
            assert share == pytest.approx(1 - inside.mean())
        assert isinstance(classifier, NumpyClassifier)
        logits, _ = classifier.run(Pass(classifier.native, training=True), mixed)
        np.testing.assert_allclose(trainer.logits(), logits, rtol=1e-5)
        labels = np.eye(samples.CLASSES)[samples.examples(40).labels[plan.index[0]]]
        targets = share * labels + (1 - share) * labels[plan.mixes.partner[0]]
        weights = plan.weights[0] / plan.totals[0]
        assert trainer.losses(0, 1)[0] == pytest.approx(weights @ loss_and_gradient(logits, targets)[0])


def test_a_clipped_step_has_the_length_of_the_limit() -> None:
    classifier, trainer, plan = _steps("clipping", clip_norm=0.3)
    before = classifier.state()
    trainer.step(0)
    moved = [np.sum((classifier.state()[name] - value) ** 2) for name, value in before.items() if "running" not in name]
    assert np.sqrt(np.sum(moved)) == pytest.approx(0.3 * plan.lr[0])


def test_members_of_an_online_plan_are_those_with_the_smallest_margin() -> None:
    classifier, trainer, plan = _steps("hardest of each batch")
    images = samples.examples(40, whole=True).images[plan.index[0]]
    labels = samples.examples(40).labels[plan.index[0]]
    logits = classifier.logits(images)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    own = np.arange(samples.CLASSES) == labels[:, None]
    margin = p[own] - np.where(own, -1, p).max(axis=1)
    trainer.step(0)
    assert trainer.order(0, 1)[0].tolist() == np.argsort(margin).tolist()


def test_micro_batches_without_batch_statistics_are_the_whole_batch() -> None:
    backend, ends = NumpyBackend(), []
    for parts in (1, 2, 4):
        classifier = samples.build(backend, "linear")
        trainer, plans = OPTIONS["TRADES"].trainer(backend, classifier, micro_batches=parts)
        samples.train(trainer, plans[:1])
        ends.append(classifier.state()["fc.weight"])
    for other in ends[1:]:
        np.testing.assert_allclose(other, ends[0], atol=1e-12)


def _of_restarts(classifier: Classifier, attack: AttackSpec) -> tuple[np.ndarray, np.ndarray]:
    data = samples.examples()
    together = classifier.perturb(data.images, data.labels, attack, np.random.default_rng(3))
    rng, one = np.random.default_rng(3), attrs.evolve(attack, restarts=1)
    tries = [classifier.perturb(data.images, data.labels, one, rng) for _ in range(attack.restarts)]
    losses = [classifier.loss_gradient(x, data.labels, attack.loss)[1] for x in tries]
    return together, np.stack(tries)[np.argmax(losses, axis=0), np.arange(len(data))]


@pytest.mark.parametrize("loss", ["ce", "margin"])
def test_of_restarts_the_highest_loss_is_returned(loss: str) -> None:
    classifier = samples.build(NumpyBackend(), "small-cnn")
    attack = samples.attack(random_start=True, restarts=3, steps=1, loss=loss)
    together, expected = _of_restarts(classifier, attack)
    np.testing.assert_array_equal(together, expected)


def test_attacks_that_make_no_sense_are_refused() -> None:
    classifier, data = samples.build(NumpyBackend(), "linear"), samples.examples()
    with pytest.raises(SpecError, match=r"^perturb: 'free' is a way to train"):
        classifier.perturb(data.images, data.labels, AttackSpec(kind="free"))
    for wrong, message in (
        ({"loss": "kl", "random_start": False}, r"^attack\.random_start: expected true with attack\.loss = \"kl\""),
        ({"restarts": 2}, r"^attack\.restarts: expected 1 without attack\.random_start, got 2"),
        ({"replays": 2}, r"^attack\.replays: needs attack\.kind = \"free\", got 'pgd'"),
        ({"kind": "free", "random_start": True}, r"^attack\.kind: 'free' takes the gradient of the training step"),
    ):
        with pytest.raises(SpecError, match=message):
            AttackSpec(**wrong)


def test_an_attack_that_does_not_project_says_how_far_it_goes() -> None:
    attack = AttackSpec(kind="n-fgsm", norm="Linf", eps="8/255")
    assert (attack.start_radius, attack.step_size, attack.reach) == pytest.approx((16 / 255, 8 / 255, 24 / 255))
    assert (attack.passes, AttackSpec(kind="free").passes, AttackSpec(kind="free").replays) == (1, 0, 8)
    assert AttackSpec(restarts=2, random_start=True).passes == 14
