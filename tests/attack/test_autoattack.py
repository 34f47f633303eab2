"""The runner against the package's own, and what it adds: per-example results, a file that resumes, warnings."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from pyautoattack import AutoAttack, autopgd_base, fab_pt, square
from torch import nn
from torch.utils.checkpoint import checkpoint

from sat_core.autoattack import ENGINES
from sat_core.backend import get_backend
from sat_core.errors import DataError, EvaluationError, NotInstalledError, SpecError
from sat_core.evaluation import MISCLASSIFIED, ROBUST, Evaluation
from sat_core.evaluator import get_evaluator
from sat_core.files import read_npz, write_npz
from sat_evaluation.attack import plan as plans
from sat_evaluation.attack import runner
from sat_evaluation.attack.package import find_package
from sat_evaluation.attack.plan import plan
from sat_evaluation.attack.runner import evaluate, load

pytestmark = pytest.mark.torch

ATTACKS = (autopgd_base.APGDAttack, autopgd_base.APGDAttack_targeted, fab_pt.FABAttack_PT, square.SquareAttack)
QUICK = ("apgd-ce", "fab-t")


class Net(nn.Module):
    """A random network whose corner pixel says how well it hides its gradients, so that every attack has its prey.

    Below 0.3 not at all; up to 0.7 by logits so large that the cross-entropy is flat; above, by rounding the pixels.
    """

    def __init__(self, classes, channels=1):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, classes)
        )
        draw = torch.Generator().manual_seed(0)
        for p in self.body.parameters():
            p.data = torch.randn(p.shape, generator=draw) * (2 / p[0].numel() ** 0.5 if p.ndim > 1 else 0.2)

    def forward(self, x):
        corner = x[:, :1, :1, :1].detach()
        logits = self.body(torch.where(corner > 0.7, (x * 8).round() / 8, x))
        return logits * torch.where((corner > 0.3) & (corner <= 0.7), 1e4, 1.0).reshape(-1, 1)


def setting(classes=3, channels=1, n=7):
    """A classifier, images and labels; one label in six is wrong."""
    classifier = get_backend("torch").wrap(Net(classes, channels), classes=classes, image_shape=(8, 8, channels))
    images = np.random.default_rng(0).random((n, 8, 8, channels), dtype=np.float32)
    images[:, 0, 0] = np.resize([0.1, 0.5, 0.9], (n, 1))
    labels = classifier.logits(images).argmax(axis=1)
    labels[::6] = (labels[::6] + 1) % classes
    return classifier, images, labels


def shortened(*settings, table=plans._table):
    return {k: v // 10 if k in ("iterations", "queries") else v for k, v in table(*settings).items()}


def quick(classifier, images, labels, **options):
    """Two attacks of a tenth of the iterations, in batches of two."""
    defaults = {"norm": "Linf", "eps": 0.05, "attacks": QUICK, "batch_size": 2}
    with mock.patch.object(plans, "_table", shortened):
        return evaluate(classifier, images, labels, **defaults | options)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def calls(monkeypatch):
    """Every call of an attack of the package: class, settings, input and output."""
    seen = []
    names = ("norm", "eps", "seed", "n_iter", "n_restarts", "loss", "eot_iter", "thr_decr", "n_queries", "p_init")
    names += ("rescale_schedule", "targeted", "alpha_max", "eta", "beta", "use_largereps", "is_tf_model")
    for kind in ATTACKS:

        def perturb(self, x, y, original=kind.perturb):
            adversarial = original(self, x, y)
            settings = {n: getattr(self, n) for n in names if not callable(getattr(self, n, print))}
            seen.append((type(self).__name__, settings, x.clone(), y.clone(), adversarial.clone()))
            return adversarial

        monkeypatch.setattr(kind, "perturb", perturb)
    return seen


def run_package(classifier, images, labels, attacks, norm, eps, seed, batch_size, queries):
    """The package's own evaluation: which examples are robust."""
    custom = {"version": attacks} if isinstance(attacks, str) else {"version": "custom", "attacks": list(attacks)}
    theirs = AutoAttack(classifier.as_torch_module(), norm=norm, eps=eps, seed=seed, device="cpu", **custom)
    theirs.apgd_targeted.n_target_classes = theirs.fab.n_target_classes = min(9, classifier.classes - 1)
    theirs.square.n_queries = queries
    x = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    trace = sys.gettrace()
    _, predicted = theirs.run_standard_evaluation(x, torch.from_numpy(labels), batch_size=batch_size)
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
def test_same_as_the_package(attacks, norm, eps, classes, channels, batch_size, queries, calls, caplog, monkeypatch):
    classifier, images, labels = setting(classes, channels, n=9)
    shares = []
    table = plans._table
    monkeypatch.setattr(plans, "_table", lambda *s: table(*s) | ({"queries": queries} if s[0] == "square" else {}))
    result = evaluate(
        classifier, images, labels, norm=norm, eps=eps, attacks=attacks, seed=3, batch_size=batch_size,
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

    names = [table["name"] for table in result.attacks]
    broken = dict.fromkeys(names, 0)
    for name, count in re.findall(r"(\S+) - \d+/\d+ - (\d+) out of \d+ successfully", caplog.text):
        broken[name] += int(count)
    assert {row["name"]: row["broken"] for row in result.breakdown()} == broken
    assert sum(count > 0 for count in broken.values()) > 1
    assert robust.sum() > 0

    done = [share for share, _ in shares]
    assert done == sorted(done)
    assert 0 < done[0] < 0.01
    assert done[-1] == 1.0
    assert list(dict.fromkeys(attack for _, attack in shares)) == names


def test_tables_are_the_settings_of_the_package():
    def tables(attacks, classes=10, norm="L2", shape=(32, 32, 3)):
        return plan(attacks, norm=norm, classes=classes, image_shape=shape)

    apgd, fab = {"name": "apgd-ce", "iterations": 100}, {"name": "fab", "iterations": 100}
    targeted = [{"name": n, "iterations": 100, "restarts": 1, "target_classes": 9} for n in ("apgd-t", "fab-t")]
    square = {"name": "square", "queries": 5000, "restarts": 1}
    assert tables("standard") == (({**apgd, "restarts": 1}, *targeted, square), [])
    dlr = {**apgd, "name": "apgd-dlr", "restarts": 5}
    plus = ({**apgd, "restarts": 5}, dlr, {**fab, "restarts": 5}, square, *targeted)
    assert tables("plus")[0] == plus
    assert tables(tuple(table["name"] for table in plus))[0] == plus
    assert tables(("fab-t", "fab"))[0] == (targeted[1], {**fab, "restarts": 1})
    assert tables(["apgd-t"], classes=4)[0][0]["target_classes"] == 3


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
    assert [table["name"] for table in result.attacks] == left
    for warning, (name, why) in zip(result.warnings, out.items(), strict=True):
        assert warning.startswith(f"{name} was left out")
        assert why in warning


@pytest.mark.parametrize("height", [4, 12, 24])
def test_square_is_left_out_where_the_package_cannot_tile(height):
    tables, notes = plan("standard", norm="L2", classes=10, image_shape=(height, height, 1))
    assert [table["name"] for table in tables] == ["apgd-ce", "apgd-t", "fab-t"]
    assert notes == [f"square was left out: with L2 it cannot tile images of {height}x{height} pixels"]
    attack = find_package().attack({"name": "square", "queries": 1, "restarts": 1}, Flat(), **L2)
    with pytest.raises((RuntimeError, ZeroDivisionError)):
        attack(torch.rand(2, 1, height, height), torch.zeros(2, dtype=torch.int64))


L2 = {"norm": "L2", "eps": 0.1, "seed": 0, "device": "cpu"}


class Flat(nn.Module):
    """Always class 0, whatever the image."""

    def forward(self, x):
        return x.flatten(1)[:, :3] * 0 + torch.tensor([2.0, 1.0, 0.0])


def test_eps_zero_attacks_nothing(calls):
    classifier, images, labels = setting()
    result = quick(classifier, images, labels, eps=0.0)
    assert calls == []
    np.testing.assert_array_equal(result.robust, classifier.logits(images).argmax(axis=1) == labels)
    assert "eps = 0: none of the 2 attacks was run" in result.warnings
    assert result.breakdown()[-1]["robust_accuracy"] == result.correct.mean()


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


class Stopped(Exception):
    pass


def stop_after(queries):
    """A progress callback that raises at that query."""

    def progress(share, attack):
        nonlocal queries
        queries -= 1
        if queries == 0:
            raise Stopped

    return progress


def test_broken_off_anywhere_it_ends_the_same(tmp_path):
    classifier, images, labels = setting()
    queries = []
    whole = quick(classifier, images, labels, path=tmp_path / "whole.npz", progress=lambda *now: queries.append(now))
    assert set(whole.broken_by.tolist()) == {MISCLASSIFIED, ROBUST, 0, 1}
    first = [attack for _, attack in queries].index("fab-t")
    points = [1, first // 2, first - 1, first, first + 1, len(queries) - 1, len(queries)]
    for point in points:
        path = tmp_path / f"{point}.npz"
        with pytest.raises(Stopped):
            quick(classifier, images, labels, path=path, progress=stop_after(point))
        if point < len(queries):
            with pytest.raises(EvaluationError, match="broken off"):
                load(path)
        if point == first // 2:
            with pytest.raises(Stopped):
                quick(classifier, images, labels, path=path, progress=stop_after(2 * first // 3))
        again = []
        result = quick(classifier, images, labels, path=path, progress=lambda *now, seen=again: seen.append(now))
        np.testing.assert_array_equal(result.broken_by, whole.broken_by)
        assert path.read_bytes() == (tmp_path / "whole.npz").read_bytes()
        assert again == queries[-len(again) :]
        assert len(again) <= len(queries) - point + 60  # no more than a batch is done again


def test_every_batch_is_saved(tmp_path):
    classifier, images, labels = setting()
    states, rows = set(), []
    path = tmp_path / "evaluation.npz"
    classifier.module.register_forward_pre_hook(lambda _module, inputs: rows.append(len(inputs[0])))

    def progress(share, attack):
        states.add(tuple(read_npz(path)["next"].tolist()))

    quick(classifier, images, labels, path=path, progress=progress)
    assert states == {(0, 0), (0, 1), (0, 2), (0, 3), (1, 1), (2, 0)}
    assert read_npz(path)["next"].tolist() == [2, 0]
    before = 7 + 2 + 7 + 1 + 5  # all; the first batch again; in one batch; one alone; gradients of the correct ones
    assert read_npz(path)["queries"].sum() == sum(rows) - before


def killed(path):
    """Runs in a process of its own, which does not survive."""
    torch.set_num_threads(1)
    quick(
        *setting(), path=Path(path), progress=lambda share, attack: share > 0.6 and os.kill(os.getpid(), signal.SIGKILL)
    )


def test_killed_it_ends_the_same(tmp_path):
    path = tmp_path / "evaluation.npz"
    code = f"import test_autoattack as t; t.killed({str(path)!r})"
    child = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, check=False)
    assert child.returncode == -signal.SIGKILL
    with pytest.raises(EvaluationError, match="broken off"):
        load(path)
    result = quick(*setting(), path=path)
    np.testing.assert_array_equal(result.broken_by, quick(*setting(), path=tmp_path / "whole.npz").broken_by)
    assert path.read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_finished_is_returned_without_attacking(tmp_path, monkeypatch, calls):
    classifier, images, labels = setting()
    path = tmp_path / "deep" / "evaluation.npz"
    result = quick(classifier, images, labels, path=path)
    calls.clear()
    monkeypatch.setattr(type(classifier), "as_torch_module", None)
    shares = []
    for again in (quick(classifier, images, labels, path=path, progress=lambda *now: shares.append(now)), load(path)):
        np.testing.assert_array_equal(again.label, labels)
        np.testing.assert_array_equal(again.broken_by, result.broken_by)
        for name in ("attacks", "norm", "eps", "package", "engine", "warnings"):
            assert getattr(again, name) == getattr(result, name)
    assert calls == []
    assert shares == [(1.0, "fab-t")]
    assert result.package == f"pyautoattack {metadata.version('pyautoattack')}"
    assert result.engine == "package"


def test_file_of_another_evaluation_is_refused(tmp_path, monkeypatch):
    classifier, images, labels = setting()
    path = tmp_path / "evaluation.npz"
    given = {"path": path, "attacks": ("apgd-ce",)}
    with pytest.raises(Stopped):
        quick(classifier, images, labels, **given, progress=stop_after(10))
    content = path.read_bytes()

    def refused(*expected, data=(images, labels), **other):
        with pytest.raises(EvaluationError) as caught:
            quick(classifier, *data, **given | other)
        lines = str(caught.value).splitlines()
        assert len(lines) <= 3
        assert str(path) in lines[0]
        assert all(text in lines[1] for text in expected)
        assert lines[1].count("there") == len(expected)
        assert path.read_bytes() == content

    refused("norm: Linf there, L2 here", norm="L2")
    refused("eps: 0.05 there, 0.06 here", "seed: 0 there, 4 here", eps=0.06, seed=4)
    refused("attacks: apgd-ce x5 there, apgd-ce x5, fab-t x1 here", attacks=QUICK)
    refused("batch_size: 2 there, 5 here", batch_size=5)
    refused("data: ", data=(images, labels[::-1]))
    changed = images.copy()
    changed[3, 3, 3] = 0
    refused("data: ", data=(changed, labels))
    with monkeypatch.context() as patch:
        patch.setattr(metadata, "version", lambda name: "9.9")
        refused("package: pyautoattack 0.2.0 there, pyautoattack 9.9 here")
    classifier.native.body[0].bias.data[0] += 1e-6
    refused("model: ")


@pytest.mark.parametrize("damage", ["cut", "text", "foreign", "settings", "shapes", "types"])
def test_broken_file_is_a_data_error(tmp_path, damage):
    classifier, images, labels = setting()
    path = tmp_path / "evaluation.npz"
    quick(classifier, images, labels, path=path, attacks=("apgd-ce",))
    arrays = read_npz(path)
    settings = json.loads(str(arrays["settings"]))
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    if damage == "text":
        path.write_text("nothing of the kind")
    if damage == "foreign":
        write_npz(path, {"order": np.arange(3)})
    if damage == "settings":
        write_npz(path, {**arrays, "settings": np.array(json.dumps({**settings, "colour": "blue"}))})
    if damage == "shapes":
        write_npz(path, {**arrays, "broken_by": np.arange(3)})
    if damage == "types":
        write_npz(path, {**arrays, "broken_by": arrays["broken_by"].astype(np.float32)})
    content = path.read_bytes()
    for call in (lambda: quick(classifier, images, labels, path=path, attacks=("apgd-ce",)), lambda: load(path)):
        with pytest.raises(DataError, match=f"(?s){re.escape(str(path))}.*delete {re.escape(str(path))}"):
            call()
    assert path.read_bytes() == content


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
    assert "zero at 5 of 6 correctly classified images (83.3%)" in zero
    before, after = (row["robust_accuracy"] for row in result.breakdown())
    assert f"Square, which uses none, lowered robust accuracy from {before:.1%} to {after:.1%}" in square
    assert quick(classifier, images, labels, attacks=("square",), eps=0.1).warnings == (zero,)


def test_square_before_the_others_is_no_sign_of_masking():
    def warnings(attacks, broken_by):
        label = np.zeros(1000, np.int64)
        by = np.full(1000, ROBUST)
        for number, count in enumerate(broken_by):
            by[np.flatnonzero(by == ROBUST)[:count]] = number
        tables = tuple({"name": name} for name in attacks)
        return runner._square_gain(
            Evaluation(label=label, broken_by=by, attacks=tables, norm="L2", eps=1.0, package="")
        )

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
    """A network and what happens to its logits."""

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
    found = []
    for training in (False, True):
        net = Checkpointed().train(training)
        before = {name: value.clone() for name, value in net.state_dict().items()}
        classifier = get_backend("torch").wrap(net, classes=3, image_shape=(8, 8, 1))
        found.append(quick(classifier, images, labels, engine=engine).broken_by)
        assert all(layer.training == training for layer in net.modules())
        assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    np.testing.assert_array_equal(*found)


def test_logits_that_cannot_be_are_refused():
    _, images, labels = setting()
    with pytest.raises(EvaluationError, match=r"model: expected finite logits, got NaN or infinity for 2 of 2 images"):
        quick(wrapped(lambda logits: logits / 0), images, labels)
    with pytest.raises(EvaluationError, match=r"model: expected logits of shape \(2, 3\), got shape \(2, 2\)$"):
        quick(wrapped(lambda logits: logits[:, :2]), images, labels)


@pytest.mark.parametrize(
    ("error", "message", "change"),
    [
        (SpecError, "norm: expected L2 or Linf, got 'L1'", {"norm": "L1"}),
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
