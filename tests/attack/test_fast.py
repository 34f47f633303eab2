"""The fast engine against the package on trained networks, and the copy of a network that both attack.

test_searches.py has what the searches must do, whatever the rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

from sat_core.attack_spec import AttackSpec
from sat_core.autoattack import ENGINES
from sat_core.backend import Backend
from sat_core.batches import Planner
from sat_core.classifier import Classifier
from sat_core.data import Examples
from sat_core.datasets import get_dataset
from sat_core.errors import EvaluationError, RunDirectoryError, SpecError
from sat_core.evaluation import ROBUST, Evaluation
from sat_core.experiment import Experiment, run_table
from sat_core.files import read_npz
from sat_core.spec import Spec
from sat_core.testing import samples
from sat_core.testing.parity import IMAGE_SHAPES
from sat_core.training_spec import TrainingSpec
from sat_core.unit_folder import UnitFolder
from sat_evaluation.attack.model import Model
from sat_evaluation.attack.plan import plan
from sat_evaluation.attack.runner import evaluate, load
from sat_evaluation.cli import main

pytestmark = pytest.mark.backend
EPS = {"L2": 0.75, "Linf": 0.15}


def digits(classes: int) -> tuple[Examples, Examples]:
    """Return the digits of the first classes, to train on and to attack."""
    data = get_dataset("digits")
    return tuple(
        Examples(part.images[part.labels < classes], part.labels[part.labels < classes], classes, "digits")
        for part in (data.train, data.test)
    )


def trained(backend: Backend, classes: int) -> tuple[Classifier, Examples]:
    """A small CNN after some adversarial epochs on digits, one thread, and examples that it has not seen."""
    train, test = digits(classes)
    training, attack = TrainingSpec(epochs=2, lr=0.1, batch_size=32), AttackSpec(norm="L2", eps=0.5, steps=3)
    with backend.session(training):
        classifier = backend.build("small-cnn", classes=classes, image_shape=(8, 8, 1), mean=(0.3,), std=(0.4,))
        planner = Planner(samples.split(len(train), 0.5), training, attack, (8, 8, 1))
        plans = [planner.epoch(epoch) for epoch in range(2)]
        samples.train(backend.trainer(classifier, train, training, attack), plans)
    return classifier, test


@pytest.fixture(scope="module")
def ten(backend: Backend) -> tuple[Classifier, Examples]:
    return trained(backend, 10)


def attacked(
    ten: tuple[Classifier, Examples], n: int, engine: str = "fast", by: int = 10, **options: object
) -> Evaluation:
    """An evaluation of the first `n` examples with a part of the iterations and queries: 1 / `by`."""
    classifier, data = ten

    norm = str(options.get("norm", "L2"))
    planned, _ = plan(
        options.get("attacks", "standard"), norm=norm, classes=classifier.classes, image_shape=classifier.image_shape
    )
    attacks = tuple(
        attrs.evolve(a, iterations=a.iterations and a.iterations // by, queries=a.queries and a.queries // by)
        for a in planned
    )
    options = {"eps": EPS[norm], "engine": engine, **options, "norm": norm, "attacks": attacks}
    return evaluate(classifier, data.images[:n], data.labels[:n], **options)


def few(n: int) -> int:
    """Return on how many of `n` examples two runs may differ: near a boundary, rounding decides what a search finds."""
    return n // 15


@pytest.mark.parametrize("norm", EPS)
def test_no_weaker_than_the_package(ten: tuple[Classifier, Examples], norm: str) -> None:
    """Robust accuracy is not higher, but for `few` examples; the clean flags are equal."""
    package, fast = (attacked(ten, 60, engine, norm=norm) for engine in ("package", "fast"))
    np.testing.assert_array_equal(fast.correct, package.correct)
    assert fast.robust.sum() <= package.robust.sum() + few(60)
    assert 0 < fast.robust.sum() < fast.correct.sum()
    assert (fast.engine, package.engine) == ("fast", "package")
    assert fast.package.startswith("sat-core ")
    assert fast.attacks == package.attacks


@pytest.mark.parametrize("norm", EPS)
@pytest.mark.parametrize(
    ("name", "n", "by"),
    [("apgd-ce", 200, 5), ("apgd-dlr", 100, 4), ("apgd-t", 60, 10), ("fab-t", 60, 5), ("square", 60, 10)],
)
def test_each_attack_alone(ten: tuple[Classifier, Examples], norm: str, name: str, n: int, by: int) -> None:
    """Breaks as many examples as the package's, but for a few."""
    package, fast = (attacked(ten, n, engine, by, norm=norm, attacks=(name,)) for engine in ("package", "fast"))
    assert fast.robust.sum() <= package.robust.sum() + few(n)
    assert fast.robust.sum() < fast.correct.sum()


@pytest.mark.parametrize("norm", EPS)
@pytest.mark.parametrize("name", ["apgd-ce", "apgd-dlr", "apgd-t", "fab-t", "square"])
def test_looking_seldom_breaks_as_many(
    ten: tuple[Classifier, Examples], norm: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the interval of a GPU the other rows of a batch change rounding, and rows that are broken stay broken."""
    from sat_evaluation.attack.fast import search

    often = attacked(ten, 45, norm=norm, attacks=(name,), by=5)
    monkeypatch.setattr(search, "interval", lambda device: search.LOOK)
    seldom = attacked(ten, 45, norm=norm, attacks=(name,), by=5)
    assert (seldom.robust != often.robust).sum() <= few(45)
    assert 0 < seldom.robust.sum() < seldom.correct.sum()


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_few_classes(backend: Backend, classes: int) -> None:
    small = trained(backend, classes)
    package, fast = (attacked(small, 60, engine, 20, eps=1.0) for engine in ("package", "fast"))
    assert [attack.name for attack in fast.attacks] == [
        name for name in ("apgd-ce", "apgd-t", "fab-t", "square") if classes > 3 or name != "apgd-t"
    ]
    assert fast.robust.sum() <= package.robust.sum() + few(60)
    assert {ROBUST, 0} <= set(fast.broken_by.tolist())


def test_the_batch_and_the_seed_change_little(ten: tuple[Classifier, Examples]) -> None:
    """Runs differ by rounding and random draws alone; see test_searches.py."""
    whole = attacked(ten, 45)
    assert {ROBUST, 0} <= set(whole.broken_by.tolist())
    for other in (attacked(ten, 45, batch_size=7), attacked(ten, 45, seed=1)):
        assert (other.robust != whole.robust).sum() <= few(45)


class Stopped(Exception):
    pass


def test_broken_off_it_ends_the_same(ten: tuple[Classifier, Examples], tmp_path: Path) -> None:
    shares: list[float] = []
    options = {"batch_size": 8, "by": 20}
    whole = attacked(ten, 20, path=tmp_path / "whole.npz", progress=lambda share, _: shares.append(share), **options)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert 0 < shares[0] < 0.05
    queries = len(shares) - 1  # the last report is that of the end
    for stop in (1, queries // 3, queries * 2 // 3, queries):
        path, left = tmp_path / f"{stop}.npz", iter(range(stop - 1))

        def progress(share: float, _: str, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise Stopped

        with pytest.raises(Stopped):
            attacked(ten, 20, path=path, progress=progress, **options)
        with pytest.raises(EvaluationError, match="broken off"):
            load(path)
        attacked(ten, 20, path=path, **options)
        assert path.read_bytes() == (tmp_path / "whole.npz").read_bytes()
    np.testing.assert_array_equal(load(tmp_path / "whole.npz").broken_by, whole.broken_by)
    with pytest.raises(EvaluationError, match="engine: fast there, package here"):
        attacked(ten, 20, "package", path=tmp_path / "whole.npz", **options)


def test_settings_that_are_wrong(ten: tuple[Classifier, Examples]) -> None:
    with pytest.raises(
        SpecError, match=r"engine: expected 'package' or 'folded' or 'fast', got 'fats' \(did you mean 'fast'"
    ):
        attacked(ten, 2, "fats")
    with pytest.raises(SpecError, match=r"the engine 'fast' has .*, and no fab\nleave it out"):
        attacked(ten, 2, attacks=("apgd-ce", "fab"))


def test_the_command_line_offers_all_engines(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    assert f"{{{','.join(ENGINES)}}}" in capsys.readouterr().out


def test_in_a_folder_of_an_older_version_the_package_attacked(backend: Backend, tmp_path: Path) -> None:
    data, tables = get_dataset("digits"), {"data": {"name": "digits"}, "training": {"epochs": 2}}
    spec = Spec.from_tables(tables)

    def claim(spec: Spec) -> None:
        run = run_table(backend.name, backend.device, data)
        UnitFolder(tmp_path).claim(Experiment(tables=spec.to_tables(), run=run, data=data.name))

    claim(spec)
    path = tmp_path / "spec.toml"
    text = path.read_text()
    path.write_text(text.replace('engine = "package"\n', ""))
    assert path.read_text() != text
    claim(spec)
    fast = Spec.from_tables({**tables, "evaluation": {"engine": "fast"}})
    with pytest.raises(RunDirectoryError, match=r"evaluation\.engine is 'package' there and 'fast' here"):
        claim(fast)


@pytest.mark.torch
def test_the_searches_return_what_they_broke(ten: tuple[Classifier, Examples]) -> None:
    """In the ball and in [0, 1], and misclassified by the network itself, not only by its copy, but for rounding."""
    import torch

    from sat_evaluation.attack.fast.engine import Fast
    from sat_evaluation.attack.fast.search import margin

    classifier, data = ten
    model = Model(classifier, "fast")
    assert model.attacked is not model.module
    planned, _ = plan("standard", norm="L2", classes=10, image_shape=(8, 8, 1))
    x, y = model.tensors(data.float_images(np.arange(40)), data.labels[:40])
    with torch.no_grad():
        correct = margin(model.exact(x), y) > 1e-3
    x, y = x[correct], y[correct]
    for norm, small in EPS.items():
        eps = 2 * small  # random search breaks some, too
        for settings in planned:
            short = attrs.evolve(
                settings,
                iterations=settings.iterations and min(settings.iterations, 50),
                queries=settings.queries and min(settings.queries, 50),
            )
            with torch.no_grad():
                adversarial = Fast().attack(short, model, norm=norm, eps=eps, seed=0)(x, y)
                gap = margin(model.exact(adversarial), y)
            size = (adversarial - x).flatten(1).norm(2.0 if norm == "L2" else torch.inf, dim=1)
            assert (gap[size > 0] < 1e-4).all(), settings.name
            assert (size > 0).any()
            assert size.max() <= eps * (1 + 1e-5)
            assert adversarial.min() >= 0
            assert adversarial.max() <= 1


@pytest.mark.parametrize("norm", EPS)
def test_patience_costs_more_and_breaks_little(
    ten: tuple[Classifier, Examples], norm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sat_evaluation.attack.fast import search

    evaluations, queries = {}, {}
    for patience in (search.PATIENCE, np.inf):
        monkeypatch.setattr(search, "PATIENCE", patience)
        path = tmp_path / f"{patience}.npz"
        evaluations[patience] = attacked(ten, 30, norm=norm, by=2, path=path)
        queries[patience] = read_npz(path)["queries"].sum()
    hasty, patient = evaluations
    assert (evaluations[hasty].robust != evaluations[patient].robust).sum() <= few(30)
    assert queries[hasty] < queries[patient]


@pytest.mark.torch
def test_searches_that_are_slow_go_on(backend: Backend, ten: tuple[Classifier, Examples]) -> None:
    """FAB-T creeps where outputs hardly change, as probabilities do."""
    import torch

    classifier: Any = ten[0]
    network = torch.nn.Sequential(classifier.module, torch.nn.Identity())
    slow = backend.wrap(network, classes=10, image_shape=(8, 8, 1)), ten[1]
    network[1] = torch.nn.Softmax(dim=1)  # which wrap refuses
    fast, package = (attacked(slow, 45, engine, by=1, attacks=("fab-t",)) for engine in ("fast", "package"))
    assert fast.robust.sum() <= package.robust.sum() + few(45)


def own_layer(c) -> None:
    import torch

    class Own(torch.nn.Conv2d):
        pass

    own = Own(32, 64, 3, 2, padding=1, bias=False)
    own.load_state_dict(c.native.conv2.state_dict())
    c.native.conv2 = own


CHANGES: dict[str, Callable[[Any], Any]] = {
    "listens": lambda c: c.native.conv2.register_forward_hook(lambda *_: None),
    "replaces a layer": own_layer,
    "replaces what it does": lambda c: setattr(c.native.conv2, "forward", c.native.conv2.forward),
}


@pytest.mark.torch
class TestAttackedModule:
    """`Classifier.attacked_torch_module` of PyTorch."""

    @pytest.mark.parametrize("model", IMAGE_SHAPES)
    def test_same_logits_and_gradients(self, backend: Backend, model: str) -> None:
        """Gradients for most images only: a value rounded to the other side of a ReLU's corner has another."""
        import torch

        shape = IMAGE_SHAPES[model]
        classifier: Any = samples.build(backend, model, shape=shape)
        network = classifier.native.train()
        state = {name: value.clone() for name, value in network.state_dict().items()}
        made, exact = classifier.attacked_torch_module(), classifier.as_torch_module()
        off: list[list[torch.Tensor]] = [[], [], []]
        for n in (4, 4, 3, 1):
            x, found = torch.rand(n, shape[2], *shape[:2]), []
            for module in (made, exact):
                x = x.clone().requires_grad_()
                logits = module(x)
                one, two = (torch.autograd.grad(logits[:, k].sum(), x, retain_graph=True)[0] for k in (1, 2))
                assert one.is_contiguous()
                found.append((logits.detach(), one, two))
            for errors, ours, theirs in zip(off, *found, strict=True):
                errors.append((ours - theirs).flatten(1).norm(dim=1) / theirs.flatten(1).norm(dim=1))
        for errors, close in zip(off, (1e-4, 0.2, 0.2), strict=True):
            assert torch.cat(errors).max() < close
            assert torch.cat(errors).quantile(0.25) < 1e-4
        assert network.training
        assert all(p.requires_grad for p in network.parameters())
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())

    @pytest.mark.parametrize("how", CHANGES)
    def test_a_network_that_someone_changed_is_attacked_as_it_is(self, backend: Backend, how: str) -> None:
        import torch

        classifier: Any = samples.build(backend, "small-cnn")
        CHANGES[how](classifier)
        made, exact = classifier.attacked_torch_module(), classifier.as_torch_module()
        x = torch.rand(3, 1, 8, 8)
        assert torch.equal(made(x), exact(x))

    @pytest.mark.parametrize("rounds", [False, True])
    def test_a_users_module_is_attacked_as_it_is(self, backend: Backend, rounds: bool) -> None:
        """Of PyTorch's layers only, or with straight-through gradients, which a trace would lose."""
        import torch
        from torch import nn

        class Rounded(torch.autograd.Function):
            forward = staticmethod(lambda ctx, x: (8 * x).round() / 8)
            backward = staticmethod(lambda ctx, gradient: gradient)

        class Net(nn.Sequential):
            def forward(self, x):
                return super().forward(Rounded.apply(x))

        net = (Net if rounds else nn.Sequential)(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)
        )
        classifier = backend.wrap(net, classes=5, image_shape=(8, 8, 3))
        x, gradients = torch.rand(4, 3, 8, 8), []
        for module in (classifier.attacked_torch_module(), classifier.as_torch_module()):
            x = x.clone().requires_grad_()
            gradients.append(torch.autograd.grad(module(x).square().sum(), x)[0])
        assert torch.equal(*gradients)
        assert gradients[0].any()

    def test_single_and_double(self, backend: Backend) -> None:
        import torch

        for dtype, close in ((torch.float64, 1e-6), (torch.float32, 1e-5)):
            classifier: Any = samples.build(backend, "small-cnn")
            classifier.module.to(dtype)
            made, exact = classifier.attacked_torch_module(), classifier.as_torch_module()
            x = torch.rand(4, 1, 8, 8)
            assert made(x).dtype == torch.float32
            torch.testing.assert_close(made(x), exact(x), atol=close, rtol=close)
