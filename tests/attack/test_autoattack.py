"""The runner against the package's own: the same calls, the same results; and nothing of the caller is changed."""

from __future__ import annotations

import logging
import re
import subprocess
import sys

import attrs
import numpy as np
import pytest
import torch
from prey import quick, setting
from pyautoattack import AutoAttack
from torch import nn

from sat_core.autoattack import AttackSettings
from sat_core.errors import NotInstalledError, SpecError
from sat_core.evaluation import MISCLASSIFIED, ROBUST
from sat_core.evaluator import get_evaluator
from sat_evaluation.attack.package import find_package
from sat_evaluation.attack.plan import plan
from sat_evaluation.attack.runner import evaluate

pytestmark = pytest.mark.torch


def run_package(classifier, images, labels, attacks, norm, eps, seed, batch_size, queries):
    """Run the package's own evaluation; return which examples are robust."""
    custom = {"version": attacks} if isinstance(attacks, str) else {"version": "custom", "attacks": list(attacks)}
    package = AutoAttack(classifier.as_torch_module(), norm=norm, eps=eps, seed=seed, device="cpu", **custom)
    package.apgd_targeted.n_target_classes = package.fab.n_target_classes = min(9, classifier.classes - 1)
    package.square.n_queries = queries
    x = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    trace = sys.gettrace()
    _, predicted = package.run_standard_evaluation(x, torch.from_numpy(labels), batch_size=batch_size)
    sys.settrace(trace)
    return predicted.numpy() == labels


@pytest.mark.parametrize(
    ("attacks", "norm", "eps", "classes", "channels", "batch_size", "queries"),
    [
        ("standard", "L2", 0.4, 10, 3, 5, 1000),
        ("standard", "Linf", 0.07, 11, 1, 250, 5000),
        ("plus", "Linf", 0.05, 4, 1, 5, 1000),
        (("fab-t", "apgd-dlr", "fab"), "L2", 0.25, 5, 3, 4, 1000),
        (("apgd-ce", "apgd-t", "fab"), "Linf", 0.06, 6, 1, 250, 1000),
    ],
)
def test_same_as_the_package(attacks, norm, eps, classes, channels, batch_size, queries, calls, caplog):
    classifier, images, labels = setting(classes, channels, n=9)
    shares = []
    planned, _ = plan(attacks, norm=norm, classes=classes, image_shape=classifier.image_shape)
    planned = tuple(attrs.evolve(a, queries=queries) if a.name == "square" else a for a in planned)
    result = evaluate(
        classifier, images, labels, norm=norm, eps=eps, attacks=planned, seed=3, batch_size=batch_size,
        progress=lambda share, attack: shares.append((share, attack)),
    )  # fmt: skip
    ours = calls.copy()
    calls.clear()
    caplog.set_level(logging.DEBUG, "auto-attack")
    robust = run_package(classifier, images, labels, attacks, norm, eps, 3, batch_size, queries)

    np.testing.assert_array_equal(result.robust, robust)
    assert len(ours) == len(calls)
    for (kind, settings, x, y, adversarial), (kind_, settings_, x_, y_, adversarial_) in zip(ours, calls, strict=True):
        assert (kind, settings) == (kind_, settings_)
        assert torch.equal(x, x_)
        assert x.stride() == x_.stride()
        assert torch.equal(y, y_)
        assert torch.equal(adversarial, adversarial_)

    names = [attack.name for attack in result.attacks]
    broken = dict.fromkeys(names, 0)
    for name, count in re.findall(r"(\S+) - \d+/\d+ - (\d+) out of \d+ successfully", caplog.text):
        broken[name] += int(count)
    assert {outcome.settings.name: outcome.broken for outcome in result.breakdown()} == broken
    assert sum(count > 0 for count in broken.values()) > 1
    assert robust.sum() > 0

    done = [share for share, _ in shares]
    assert done == sorted(done)
    assert 0 < done[0] < 0.01
    assert done[-1] == 1.0
    assert list(dict.fromkeys(attack for _, attack in shares)) == names


def test_tables_are_the_settings_of_the_package():
    def tables(attacks, classes=10, norm="L2", shape=(32, 32, 3)):
        planned, notes = plan(attacks, norm=norm, classes=classes, image_shape=shape)
        return tuple(settings.to_table() for settings in planned), notes

    apgd, fab = {"name": "apgd-ce", "iterations": 100}, {"name": "fab", "iterations": 100}
    targeted = [{"name": n, "iterations": 100, "restarts": 1, "target_classes": 9} for n in ("apgd-t", "fab-t")]
    square = {"name": "square", "queries": 5000, "restarts": 1}
    assert tables("standard") == (({**apgd, "restarts": 1}, *targeted, square), [])
    dlr = {**apgd, "name": "apgd-dlr", "restarts": 5}
    assert tables("screening") == (({**apgd, "restarts": 1}, targeted[0]), [])
    plus = ({**apgd, "restarts": 5}, dlr, {**fab, "restarts": 5}, square, *targeted)
    assert tables("plus")[0] == plus
    assert tables(tuple(table["name"] for table in plus))[0] == plus
    assert tables(("fab-t", "fab"))[0] == (targeted[1], {**fab, "restarts": 1})
    assert tables(["apgd-t"], classes=4)[0][0]["target_classes"] == 3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (AttackSettings(name="square"), "expected queries of square, got none"),
        (AttackSettings(name="apgd-ce", queries=9), "expected iterations of apgd-ce, got none"),
        (AttackSettings(name="fab-t", iterations=9), "expected target_classes of fab-t, got none"),
        (AttackSettings(name="apgd-t", iterations=9, target_classes=5), "at most 4 target_classes of apgd-t, got 5"),
    ],
)
def test_settings_without_a_budget_are_refused(settings, said):
    with pytest.raises(SpecError, match=said):
        plan((settings,), norm="L2", classes=5, image_shape=(8, 8, 1))
    whole = AttackSettings(name="fab-t", iterations=9, target_classes=4)
    assert plan(("apgd-ce", whole), norm="L2", classes=5, image_shape=(8, 8, 1))[0][1] == whole


@pytest.mark.parametrize(
    ("attacks", "classes", "left", "out"),
    [
        ("standard", 3, ["apgd-ce", "fab-t", "square"], {"apgd-t": "4 classes and there are 3"}),
        ("standard", 2, ["apgd-ce", "fab-t", "square"], {"apgd-t": "4 classes and there are 2"}),
        ("plus", 3, ["apgd-ce", "apgd-dlr", "fab", "square", "fab-t"], {"apgd-t": "4 classes"}),
        ("plus", 2, ["apgd-ce", "fab", "square", "fab-t"], {"apgd-dlr": "3 classes", "apgd-t": "4 classes"}),
    ],
)
def test_few_classes(attacks, classes, left, out):
    classifier, images, labels = setting(classes, n=3)
    images[:, 0, 0] = 0.1
    result = evaluate(classifier, images, labels, norm="Linf", eps=0.5, attacks=attacks)
    assert [attack.name for attack in result.attacks] == left
    for warning, (name, why) in zip(result.warnings, out.items(), strict=True):
        assert warning.startswith(f"{name} was left out")
        assert why in warning


def test_screening_is_what_standard_leaves_after_two_attacks():
    classifier, images, labels = setting(4, n=9)
    standard = quick(classifier, images, labels, attacks="standard")
    screening = quick(classifier, images, labels, attacks="screening")
    after_two = np.where(standard.broken_by > 1, ROBUST, standard.broken_by)
    np.testing.assert_array_equal(screening.broken_by, after_two)
    assert screening.breakdown() == standard.breakdown()[:2]
    assert {0, 1} & set(screening.broken_by.tolist())


@pytest.mark.parametrize("height", [4, 12, 24])
def test_square_is_left_out_where_the_package_cannot_tile(height):
    planned, notes = plan("standard", norm="L2", classes=10, image_shape=(height, height, 1))
    assert [settings.name for settings in planned] == ["apgd-ce", "apgd-t", "fab-t"]
    assert notes == [f"square was left out: with L2 it cannot tile images of {height}x{height} pixels"]
    attack = find_package().attack(AttackSettings(name="square", queries=1), Flat(), **L2)
    with pytest.raises((RuntimeError, ZeroDivisionError)):
        attack(torch.rand(2, 1, height, height), torch.zeros(2, dtype=torch.int64))


L2 = {"norm": "L2", "eps": 0.1, "seed": 0, "device": "cpu"}


class Flat(nn.Module):
    """A network that predicts class 0 for every image."""

    def forward(self, x):
        return x.flatten(1)[:, :3] * 0 + torch.tensor([2.0, 1.0, 0.0])


def test_eps_zero_attacks_nothing(calls):
    classifier, images, labels = setting()
    result = quick(classifier, images, labels, eps=0.0)
    assert calls == []
    np.testing.assert_array_equal(result.robust, classifier.logits(images).argmax(axis=1) == labels)
    assert "eps = 0: none of the 2 attacks was run" in result.warnings
    assert result.breakdown()[-1].robust_accuracy == result.correct.mean()


def test_tiny_eps_breaks_nothing():
    result = quick(*setting(), eps=1e-9)
    assert result.broken_by.tolist() == [MISCLASSIFIED, *[ROBUST] * 5, MISCLASSIFIED]


def test_one_example():
    classifier, images, labels = setting()
    assert quick(classifier, images[3:4], labels[3:4], eps=0.99).broken_by.tolist() == [0]
    assert quick(classifier, images[3:4], labels[3:4], eps=1e-9).broken_by.tolist() == [ROBUST]


def test_none_correct(calls):
    classifier, images, labels = setting()
    shares = []
    labels = (classifier.logits(images).argmax(axis=1) + 1) % 3
    result = quick(classifier, images, labels, progress=lambda *now: shares.append(now))
    assert result.broken_by.tolist() == [MISCLASSIFIED] * 7
    assert result.warnings == ()
    assert calls == []
    assert shares == [(1.0, "fab-t")]


def test_uint8_is_divided_by_255():
    classifier, images, labels = setting()
    pixels = (images * 255).round().astype(np.uint8)
    a, b = (quick(classifier, x, labels) for x in (pixels, pixels.astype(np.float32) / np.float32(255)))
    np.testing.assert_array_equal(a.broken_by, b.broken_by)


def test_nothing_of_the_callers_is_changed(monkeypatch):
    classifier, images, labels = setting()
    monkeypatch.setattr(type(classifier), "as_torch_module", lambda self: self.native)  # without the backend's own care
    net, before = classifier.native, (images.copy(), labels.copy(), classifier.state())
    net.train()
    net.body[0].weight.requires_grad_(False)
    net.body[3].weight.grad = torch.ones(3, 64)
    torch.manual_seed(11)
    cuda = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", cuda.append)
    states = torch.get_rng_state(), torch.initial_seed(), np.random.get_state()[1].tolist()

    def stop(share, attack):
        if share > 0.5:
            raise KeyboardInterrupt

    assert not np.shares_memory(quick(classifier, images, labels).label, labels)
    with pytest.raises(KeyboardInterrupt):
        quick(classifier, images, labels, progress=stop)

    assert torch.equal(torch.get_rng_state(), states[0])
    assert (torch.initial_seed(), np.random.get_state()[1].tolist()) == states[1:]
    assert torch.cuda.is_initialized() or cuda[-1] == 11  # the seed it will start with
    assert net.training
    assert [p.requires_grad for p in net.parameters()] == [False, True, True, True]
    assert [p.grad is None for p in net.parameters()] == [True, True, False, True]
    assert torch.equal(net.body[3].weight.grad, torch.ones(3, 64))
    np.testing.assert_array_equal(images, before[0])
    np.testing.assert_array_equal(labels, before[1])
    assert all(np.array_equal(v, before[2][k]) for k, v in classifier.state().items())
    assert torch.is_grad_enabled()


def test_importing_it_imports_no_framework():
    code = "import sys, sat_evaluation.attack.runner; sys.exit(' '.join({'torch', 'sat_torch'} & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr.strip() == ""
    )


def forget(monkeypatch, package):
    for name in ("", ".autopgd_base", ".fab_pt", ".square"):
        monkeypatch.setitem(sys.modules, package + name, None)


def test_neither_package_installed(monkeypatch):
    classifier, images, labels = setting()
    forget(monkeypatch, "pyautoattack")
    forget(monkeypatch, "autoattack")
    with pytest.raises(NotInstalledError, match=r"pip install '\.\[autoattack\]' in the folder of sat-core's source$"):
        quick(classifier, images, labels)


def test_upstreams_package_is_taken_instead(monkeypatch):
    classifier, images, labels = setting()
    ours = quick(classifier, images, labels)
    modules = {name: sys.modules[f"pyautoattack{name}"] for name in ("", ".autopgd_base", ".fab_pt", ".square")}
    forget(monkeypatch, "pyautoattack")
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, f"autoattack{name}", module)
    upstream = quick(classifier, images, labels)
    assert upstream.package == "autoattack of unknown version"
    np.testing.assert_array_equal(ours.broken_by, upstream.broken_by)


def test_found_by_name():
    assert get_evaluator() is evaluate
