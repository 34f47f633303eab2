"""Buffers and checks of captured networks, on a CPU: what would be captured is computed anew at each replay."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from prey import quick, setting
from test_searches import CLASSES, IMAGES, NORMS, Linear
from torch import Tensor, nn

from sat_core.autoattack import AttackSettings
from sat_evaluation.attack.fast import search
from sat_evaluation.attack.fast.captured import WARM_UPS, Captured, padded
from sat_evaluation.attack.fast.engine import Fast
from sat_evaluation.attack.model import Model

pytestmark = pytest.mark.torch


class Recorder:
    """A `Capture` whose replays call the function again and write into the same memory, as a graph does."""

    def __init__(self, broken: Callable[[Tensor], Any] | None = None) -> None:
        self.captures, self.replays, self.broken = 0, 0, broken

    def warm_up(self, function: Callable[[], object]) -> None:
        for _ in range(WARM_UPS):
            function()

    def __call__(self, function: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], object]]:
        result = function().clone()
        self.captures += 1

        def replay() -> None:
            self.replays += 1
            result.copy_(function())
            if self.broken is not None:
                self.broken(result)

        return result, replay


def network() -> nn.Module:
    draw = torch.Generator().manual_seed(0)
    made = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(144, 5))
    for p in made.parameters():
        p.data = torch.randn(p.shape, generator=draw) * 0.2
        p.requires_grad_(False)
    return made


def passes(forward: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Logits, and the gradient of some function of them."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        logits = forward(x)
        return logits.detach(), torch.autograd.grad(logits.square().sum(), x)[0]


def test_replays_give_what_the_network_gives_and_keep_it() -> None:
    """Also after another replay has written into the same buffers."""
    plain, recorder = network(), Recorder()
    captured = Captured(plain, 32, recorder)
    draw = torch.Generator().manual_seed(1)
    seen = []
    for n in (5, 32, 1, 6, 5, 2, 31, 17):
        x = torch.rand(n, 1, 8, 8, generator=draw)
        seen.append((passes(captured, x), passes(plain, x)))
        with torch.no_grad():
            seen.append(((captured(x),), (plain(x),)))
    for ours, theirs in seen:
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    sizes = {padded(n, 32) for n in (5, 32, 1, 6, 2, 17)}
    assert recorder.captures == 3 * len(sizes)  # forward and backward, and forward alone
    assert recorder.replays == 3 * (8 + len(sizes))  # each is checked once


def test_there_are_few_sizes_and_little_is_computed_in_vain() -> None:
    for most in (1, 7, 64, 250, 2112):
        sizes = [padded(n, most) for n in range(1, most + 1)]
        assert all(n <= size <= most for n, size in enumerate(sizes, 1))
        assert sizes == sorted(sizes)
        assert len(set(sizes)) <= 32
        assert all(size < 2 * n or size - n <= most // 16 for n, size in enumerate(sizes, 1))


def test_larger_batches_are_not_replayed() -> None:
    recorder = Recorder()
    captured, x = Captured(network(), 4, recorder), torch.rand(5, 1, 8, 8)
    torch.testing.assert_close(captured(x), network()(x))
    assert recorder.captures == 0


class Centred(nn.Module):
    """Logits that depend on the other images of the batch, and so on the padding."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x)
        return logits - logits.mean(dim=0)


class Noisy(Centred):
    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) + torch.randn(len(x), 5)


def refuse(function: Any) -> Any:
    raise RuntimeError("operation not permitted when stream is capturing\nand more")


@pytest.mark.parametrize(
    ("forward", "broken", "says"),
    [
        (network(), lambda result: result.zero_(), "a replay differs from the network by 1 of its length"),
        (network(), lambda result: result.fill_(torch.nan), "a replay differs from the network by nan"),
        (network(), lambda result: result.copy_(result.flip(0)), "a replay differs"),
        (Centred(), None, "a replay differs"),
        (Noisy(), None, "a replay differs"),
        (network(), refuse, "operation not permitted when stream is capturing$"),
    ],
)
def test_what_cannot_be_replayed_is_called_and_said_once(forward: Any, broken: Any, says: str) -> None:
    recorder = Recorder(broken)
    captured, x = Captured(forward, 32, recorder), torch.rand(5, 1, 8, 8)
    with pytest.warns(UserWarning, match=f"^CUDA graphs are not used, as the network cannot be captured: {says}"):
        ours = passes(captured, x)
    before = recorder.replays
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = passes(captured, x)
    assert recorder.replays == before
    assert captured.passes == {}
    if not isinstance(forward, Noisy):
        for one, other, direct in zip(ours, again, passes(forward, x), strict=True):
            assert torch.equal(one, direct)
            assert torch.equal(other, direct)


def test_where_memory_runs_out_graphs_are_freed_and_made_anew() -> None:
    room = 8

    class Limited(Centred):
        def forward(self, x: Tensor) -> Tensor:
            if len(x) > room:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return self.inner(x)

    captured, few = Captured(Limited(), 32, Recorder()), torch.rand(3, 1, 8, 8)
    first = passes(captured, few)
    with pytest.raises(torch.OutOfMemoryError):
        passes(captured, torch.rand(9, 1, 8, 8))
    assert captured.passes == {}
    assert not captured.failed
    for one, other in zip(first, passes(captured, few), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["apgd-ce", "apgd-t", "fab-t", "square"])
def test_attacks_on_a_captured_network_break_the_same(norm: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "interval", lambda device: search.LOOK)
    linear, recorder = Linear(), Recorder()
    eps = 2 * float(linear.distances[norm].median())
    budget = AttackSettings(name=name, iterations=50, queries=200, target_classes=CLASSES - 1)
    broken = []
    for model in (linear, Captured(linear, 2 * IMAGES, recorder)):
        with torch.no_grad():
            adversarial = Fast().attack(budget, model, norm=norm, eps=eps, seed=0)(linear.x, linear.y)
        broken.append((adversarial != linear.x).flatten(1).any(dim=1))
    assert recorder.replays > 50
    assert 0 < broken[0].sum() < IMAGES
    assert (broken[0] != broken[1]).sum() <= 2


def test_an_evaluation_frees_graphs_when_its_batches_are_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    """And breaks the same as without graphs, but for rounding."""
    classifier, images, labels = setting(classes=4, n=13)
    options = {"attacks": ("apgd-ce", "fab-t"), "engine": "fast", "eps": 0.02, "batch_size": 8}
    plain = quick(classifier, images, labels, **options)
    made, released, begin = [], [], Model.__init__

    def captured(self: Model, *args: Any) -> None:
        begin(self, *args)
        self.attacked = Captured(self.attacked, 16, Recorder())
        made.append(self.attacked)

    monkeypatch.setattr(Model, "__init__", captured)
    monkeypatch.setattr(Captured, "release", lambda self: released.append(len(self.passes)) or self.passes.clear())
    forward = classifier.native.forward

    def within(x: Tensor) -> Tensor:
        if len(x) > 5 and torch.is_grad_enabled():
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(x)

    classifier.native.forward = within
    lowered = quick(classifier, images, labels, **options)
    assert lowered.batch_size == 4
    assert released
    assert made[0].passes
    assert not made[0].failed
    assert (lowered.robust != plain.robust).sum() <= 1
    assert 0 < lowered.robust.sum() < lowered.correct.sum()


def test_a_network_that_someone_listens_to_is_not_captured() -> None:
    classifier = setting()[0]
    assert classifier.capturable
    handle = classifier.native.body[0].register_forward_hook(lambda *_: None)
    assert not classifier.capturable
    handle.remove()
    assert classifier.capturable
