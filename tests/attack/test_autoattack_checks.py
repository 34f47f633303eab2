"""What the runner warns of and what it refuses: models, settings, and adversarial images outside the ball."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from prey import Net, Stopped, quick, setting, stop_after
from pyautoattack import autopgd_base
from torch import nn
from torch.utils.checkpoint import checkpoint

from sat_core.autoattack import ENGINES, AttackSettings
from sat_core.backend import get_backend
from sat_core.errors import DataError, EvaluationError, SpecError
from sat_core.evaluation import ROBUST, Evaluation
from sat_core.files import read_npz
from sat_evaluation.attack.attack_run import masking_warnings

pytestmark = pytest.mark.torch


class Level(nn.Module):
    """Class 0 for a mean of 0.3, class 1 for any other, NaN included."""

    def forward(self, x):
        off = (x.flatten(1).mean(dim=1) - 0.3).abs()
        return torch.stack([off * 0, off * 100 - 0.5, off * 0 - 1], dim=1)


@pytest.mark.parametrize(
    ("made", "norm", "eps", "got"),
    [
        (lambda x: x + 0.05, "Linf", 0.05, None),
        (lambda x: x + 0.051, "Linf", 0.05, r"\[0.351, 0.351\] and 0.051"),
        (lambda x: x + 0.05, "L2", 0.4, None),
        (lambda x: x + 0.05, "L2", 0.39, r"\[0.35, 0.35\] and 0.4"),
        (lambda x: x - 0.4, "Linf", 0.5, r"\[-0.1, -0.1\] and 0.4"),
        (lambda x: x + 0.8, "Linf", 0.9, r"\[1.1, 1.1\] and 0.8"),
        (lambda x: x * float("nan"), "Linf", 0.05, r"\[nan, nan\] and nan"),
    ],
)
def test_adversarial_images_outside_the_ball_are_refused(made, norm, eps, got, monkeypatch, tmp_path):
    monkeypatch.setattr(autopgd_base.APGDAttack, "perturb", lambda self, x, y: made(x))
    classifier = get_backend("torch").wrap(Level(), classes=3, image_shape=(8, 8, 1))
    given = classifier, np.full((3, 8, 8, 1), 0.3, np.float32), np.zeros(3, np.int64)
    options = {"norm": norm, "eps": eps, "attacks": ("apgd-ce",), "path": tmp_path / "evaluation.npz"}
    if got is None:
        assert quick(*given, **options).broken_by.tolist() == [0, 0, 0]
        return
    with pytest.raises(EvaluationError, match=rf"^apgd-ce: expected .* {norm} distance <= {eps}, got {got}$"):
        quick(*given, **options)
    assert read_npz(options["path"])["next"].tolist() == [0, 0]


def test_warns_of_masked_gradients():
    classifier, images, labels = setting(n=6)
    images[:, 0, 0] = 0.9
    images[1, 0, 0] = 0.1
    labels = classifier.logits(images).argmax(axis=1)
    result = quick(classifier, images, labels, attacks=("apgd-ce", "square"), eps=0.1)
    zero, square = result.warnings
    assert "zero at 5 of 6 correctly classified images (83.3 %)" in zero
    before, after = (outcome.robust_accuracy for outcome in result.breakdown())
    assert (
        f"Square, which uses none, lowered robust accuracy from {100 * before:.1f} % to {100 * after:.1f} %" in square
    )
    assert quick(classifier, images, labels, attacks=("square",), eps=0.1).warnings == (zero,)


def test_square_before_the_others_is_no_sign_of_masking():
    def warnings(attacks, broken_by):
        label = np.zeros(1000, np.int64)
        by = np.full(1000, ROBUST)
        for number, count in enumerate(broken_by):
            by[np.flatnonzero(by == ROBUST)[:count]] = number
        settings = tuple(AttackSettings(name=name) for name in attacks)
        return masking_warnings(Evaluation(label=label, broken_by=by, attacks=settings, norm="L2", eps=1.0, package=""))

    assert len(warnings(("apgd-ce", "square"), (500, 3))) == 1
    assert warnings(("apgd-ce", "square"), (500, 2)) == []
    assert warnings(("square", "apgd-ce"), (500, 3)) == []
    assert len(warnings(("apgd-ce", "square", "apgd-t"), (500, 500, 0))) == 1
    assert warnings(("square",), (500,)) == []


def test_plain_models_give_no_warning():
    classifier, images, labels = setting()
    images[:, 0, 0] = 0.1
    assert quick(classifier, images, labels).warnings == ()


class Wrapped(nn.Module):
    """A network with a function applied to its logits."""

    def __init__(self, after):
        super().__init__()
        self.net, self.after = Net(3), after

    def forward(self, x):
        return self.after(self.net(x))


def wrapped(after):
    net = Wrapped(lambda logits: logits)
    classifier = get_backend("torch").wrap(net, classes=3, image_shape=(8, 8, 1))
    net.after = after  # wrap would refuse some of them
    return classifier


def test_warns_of_probabilities():
    _, images, labels = setting()
    images[:, 0, 0] = 0.1
    (warning,) = quick(wrapped(lambda logits: logits.softmax(dim=1)), images, labels).warnings
    assert warning.startswith("probabilities: the outputs for all 7 images are in [0, 1] with sum 1")


def test_warns_of_scores():
    _, images, labels = setting()
    images[:, 0, 0] = 0.5  # large logits
    warnings = quick(wrapped(torch.sigmoid), images, labels, eps=0.0).warnings
    assert [line for line in warnings if line.startswith("scores: the outputs for all 7 images are in [0, 1], and")]


@pytest.mark.parametrize("batch_size", [1, 2, 250])
def test_warns_of_models_that_depend_on_the_batch(batch_size):
    _, images, labels = setting()
    images[:, 0, 0] = 0.1
    model = wrapped(lambda logits: logits - logits.mean(dim=0))
    warnings = quick(model, images, labels, eps=0.0, batch_size=batch_size).warnings
    assert [line for line in warnings if line.startswith("batch-dependent model: ")]


def test_warns_of_randomised_models_and_repeats_their_noise(tmp_path):
    _, images, labels = setting()
    images[:, 0, 0] = 0.1
    noisy = wrapped(lambda logits: logits + 0.1 * torch.randn(logits.shape))
    queries = []
    result = quick(noisy, images, labels, path=tmp_path / "whole.npz", progress=lambda *now: queries.append(now))
    assert re.match(r"randomised model: the logits of 2 images change by up to 0\.\d+ times ", result.warnings[0])
    with pytest.raises(Stopped):
        quick(noisy, images, labels, path=tmp_path / "broken.npz", progress=stop_after(len(queries) // 2))
    quick(noisy, images, labels, path=tmp_path / "broken.npz")
    assert (tmp_path / "whole.npz").read_bytes() == (tmp_path / "broken.npz").read_bytes()


@pytest.mark.parametrize("engine", ENGINES)
def test_layers_that_are_computed_anew_on_the_way_back_are_in_evaluation_mode_there_too(engine):
    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.net = nn.BatchNorm2d(1), Net(3)

        def forward(self, x):
            return self.net(checkpoint(self.norm, x, use_reentrant=False))

    _, images, labels = setting()
    images[:, 0, 0] = 0.1
    outcomes = []
    for training in (False, True):
        net = Checkpointed().train(training)
        before = {name: value.clone() for name, value in net.state_dict().items()}
        classifier = get_backend("torch").wrap(net, classes=3, image_shape=(8, 8, 1))
        outcomes.append(quick(classifier, images, labels, engine=engine).broken_by)
        assert all(layer.training == training for layer in net.modules())
        assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    np.testing.assert_array_equal(*outcomes)


def test_logits_that_cannot_be_are_refused():
    _, images, labels = setting()
    with pytest.raises(EvaluationError, match=r"model: expected finite logits, got NaN or infinity for 2 of 2 images"):
        quick(wrapped(lambda logits: logits / 0), images, labels)
    with pytest.raises(EvaluationError, match=r"model: expected logits of shape \(2, 3\), got shape \(2, 2\)$"):
        quick(wrapped(lambda logits: logits[:, :2]), images, labels)


@pytest.mark.parametrize(
    ("error", "message", "change"),
    [
        (SpecError, "norm: expected L2 or Linf or L1 with the engine 'package', got 'L7'", {"norm": "L7"}),
        (SpecError, "norm: .* with the engine 'fast', got 'L1'\ntake the engine", {"norm": "L1", "engine": "fast"}),
        (SpecError, "eps: expected less than 64, the L1 diameter", {"norm": "L1", "eps": 64}),
        (SpecError, "eps: expected a finite number >= 0, got -0.1", {"eps": -0.1}),
        (SpecError, "eps: expected a finite number >= 0, got nan", {"eps": float("nan")}),
        (SpecError, "eps: expected less than 1, .* got 8; did you mean 8/255", {"eps": 8}),
        (SpecError, "eps: expected less than 8, the L2 diameter of 8 x 8 x 1", {"eps": 127, "norm": "L2"}),
        (SpecError, "eps: expected less than 1", {"eps": 1.0, "engine": "fast"}),
        (SpecError, "attacks: expected .*'standrad' \\(did you mean 'standard'", {"attacks": "standrad"}),
        (SpecError, "attacks: expected different ones of apgd-ce", {"attacks": ("pgd",)}),
        (SpecError, "attacks: expected different ones", {"attacks": ("fab", "fab")}),
        (SpecError, "attacks: expected different ones", {"attacks": ()}),
        (SpecError, "attacks: none is left of apgd-t\napgd-t was left out: it needs 4", {"attacks": ("apgd-t",)}),
        (SpecError, "batch_size: expected an integer >= 1, got 0", {"batch_size": 0}),
        (SpecError, "seed: expected an integer >= 0, got -1", {"seed": -1}),
        (SpecError, "seed: expected an integer >= 0, got 0.5", {"seed": 0.5}),
        (DataError, "expected one or more, of shape \\(n, 8, 8, 1\\), got \\(7, 8, 8, 3\\)", {"images": 3}),
        (DataError, "expected one or more", {"images": 0}),
        (DataError, "expected as many labels as images", {"images": 1}),
    ],
)
def test_what_makes_no_evaluation(error, message, change, calls):
    classifier, images, labels = setting()
    change = change.copy()
    given = {3: (images.repeat(3, axis=3), labels), 0: (images[:0], labels[:0]), 1: (images, labels[1:])}
    given = given.get(change.pop("images", None), (images, labels))
    with pytest.raises(error, match=message):
        quick(classifier, *given, **change)
    assert calls == []
