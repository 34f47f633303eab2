"""Between two looks the fast engine reads nothing from the device: each read would make the host wait for it."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from test_searches import ATTACKS, CLASSES, IMAGES, NORMS, Linear
from torch.utils._python_dispatch import TorchDispatchMode

from sat_core.autoattack import AttackSettings
from sat_evaluation.attack.fast import apgd, fab, search, square
from sat_evaluation.attack.fast.engine import Fast

pytestmark = pytest.mark.torch

READS = ("_local_scalar_dense", "is_nonzero", "nonzero", "equal", "masked_select", "unique", "repeat_interleave.Tensor")


class Reads(TorchDispatchMode):
    """Lists the operations that bring a value to the host, or whose shape depends on one, outside of `pause`."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.operations, self.paused = 0, False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func).removeprefix("aten.")
        masked = name.startswith("index") and any(
            i is not None and i.dtype == torch.bool for a in args if isinstance(a, list | tuple) for i in a
        )
        if not self.paused:
            self.operations += 1
            # `_to_copy` of float64 is what numpy drew, on its way to the device
            sent = name.startswith("_to_copy") and args[0].dtype == torch.float64
            if masked or sent or name.startswith(READS):
                self.names.append(name)
        return func(*args, **kwargs or {})

    def pause(self, function: Any) -> Any:
        """Return `function` as one within which nothing is listed."""

        def paused(*args: Any, **kwargs: Any) -> Any:
            before, self.paused = self.paused, True
            try:
                return function(*args, **kwargs)
            finally:
                self.paused = before

        return paused


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    """Counts outside of looks, of what is drawn right after one, and of what comes before the first iteration."""
    reads = Reads()
    monkeypatch.setattr(search, "interval", lambda device: search.LOOK)
    for owner, name in (
        (search.Search, "remaining"), (search.Search, "alive"), (search.Search, "noise"),
        (square._Linf, "draw"), (square._L2, "draw"), (square._Linf, "first"), (square._L2, "first"),
    ):  # fmt: skip
        monkeypatch.setattr(owner, name, reads.pause(getattr(owner, name)))
    return reads


def attack(linear: Linear, name: str, norm: str, mode: Any) -> list[int]:
    """Attack all images, which break at different times or not at all; return the sizes of all batches."""
    settings = AttackSettings(name=name, iterations=100, queries=200, restarts=2, target_classes=CLASSES - 1)
    eps = 2 * float(linear.distances[norm].median())
    with torch.no_grad(), mode:
        Fast().attack(settings, linear, norm=norm, eps=eps, seed=0)(linear.x, linear.y)
    return [len(batch) for batch in linear.asked]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ATTACKS)
def test_nothing_is_read_between_two_looks(name: str, norm: str, reads: Reads) -> None:
    sizes = attack(Linear(), name, norm, reads)
    assert len(sizes) > 50  # iterations
    assert reads.operations > 10 * len(sizes)
    assert reads.names == []


@pytest.mark.parametrize("name", ATTACKS)
def test_rows_are_looked_at_every_so_often(name: str, reads: Reads, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a quarter of the iterations at most, as APGD also looks when it checks its step size; and rows do leave."""
    looks = []
    remaining = search.Search.remaining
    monkeypatch.setattr(search.Search, "remaining", lambda self, *args: looks.append(1) or remaining(self, *args))
    sizes = attack(Linear(), name, "L2", nullcontext())
    assert len(sizes) / search.LOOK - 1 <= len(looks) <= len(sizes) / 4
    assert min(sizes) < IMAGES


@pytest.mark.parametrize(
    "read",
    [
        lambda t: bool((t > 0).any()),
        lambda t: t[t > 0],
        lambda t: t.masked_fill_(t > 0, 0).sum().item(),
        lambda t: t.clone().index_put_((t > 0,), t[:1]),
        lambda t: t.repeat_interleave(t.long()),
        lambda t: t + torch.ones(1, dtype=torch.float64).to(t),
        lambda t: len(t.nonzero()),
    ],
)
def test_a_read_in_the_loop_is_seen(read: Any, reads: Reads, monkeypatch: pytest.MonkeyPatch) -> None:
    hold = search.Search.hold

    def reading(self: Any, hit: torch.Tensor, x: torch.Tensor, moved: torch.Tensor) -> torch.Tensor:
        read(torch.rand(4))
        return hold(self, hit, x, moved)

    monkeypatch.setattr(search.Search, "hold", reading)
    sizes = attack(Linear(), "apgd-ce", "L2", reads)
    assert len(reads.names) >= len(sizes) - 2  # after the last iteration of each restart no row moves


def test_a_cpu_looks_in_every_iteration() -> None:
    assert search.interval(torch.device("cpu")) == 1
    assert search.interval(torch.device("cuda", 1)) == search.LOOK
    assert search.LOOK == fab.CHECKED  # FAB's checks come with a look in any case
    assert square.CHECKED % search.LOOK == 0
    assert apgd.windows(100)[0] > search.LOOK
