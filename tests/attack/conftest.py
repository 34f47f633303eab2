"""Fixtures of the tests of attacks, all of which need PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums of one thread have one order, so that the same attack gives the same bits."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every call of an attack of the package: class, settings, input and output."""
    from pyautoattack import autopgd_base, fab_pt, square

    seen: list[Any] = []
    kinds = (autopgd_base.APGDAttack, autopgd_base.APGDAttack_targeted, fab_pt.FABAttack_PT, square.SquareAttack)
    names = ("norm", "eps", "seed", "n_iter", "n_restarts", "loss", "eot_iter", "thr_decr", "n_queries", "p_init")
    names += ("rescale_schedule", "targeted", "alpha_max", "eta", "beta", "use_largereps", "is_tf_model")
    for kind in kinds:

        def perturb(self: Any, x: Any, y: Any, original: Any = kind.perturb) -> Any:
            adversarial = original(self, x, y)
            settings = {n: getattr(self, n) for n in names if not callable(getattr(self, n, print))}
            seen.append((type(self).__name__, settings, x.clone(), y.clone(), adversarial.clone()))
            return adversarial

        monkeypatch.setattr(kind, "perturb", perturb)
    return seen
