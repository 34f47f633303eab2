"""Evaluations on a device that runs out of memory: batches are halved, what is left is recorded, and they resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from prey import Stopped, quick, setting, shortened, stop_after

from sat_core.backend import get_backend
from sat_core.errors import EvaluationError
from sat_core.files import read_npz
from sat_evaluation.attack.fast.engine import Fast
from sat_evaluation.attack.runner import BATCH_SIZE, first_batch_size, load
from sat_torch.memory import fitting, kept_bytes

pytestmark = pytest.mark.torch

ATTACKS = ("apgd-ce", "fab-t", "square")


def limited(room: int) -> Any:
    """Classifier, images and labels, where the network takes at most `room` images; and the sizes it was asked for."""
    classifier, images, labels = setting(classes=4, n=13)
    forward, sizes = classifier.native.forward, []

    def within(x: torch.Tensor) -> torch.Tensor:
        sizes.append(len(x))
        if len(x) > room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return forward(x)

    classifier.native.forward = within
    return (classifier, images, labels), sizes


@pytest.mark.parametrize("engine", ["package", "fast"])
def test_batches_are_halved_and_the_size_is_recorded(engine: str, tmp_path: Path) -> None:
    """With half of the batch from the start the attacks draw the same."""
    given, sizes = limited(3)
    path, shares = tmp_path / "evaluation.npz", []
    options = {"attacks": ATTACKS, "engine": engine}
    lowered = quick(*given, **options, batch_size=6, path=path, progress=lambda share, _: shares.append(share))
    assert lowered.batch_size == 3
    assert read_npz(path)["batch_size"].tolist() == [6, 3]
    assert load(path).batch_size == 3
    whole = quick(*setting(classes=4, n=13), **options, batch_size=3)
    assert whole.batch_size == 3
    np.testing.assert_array_equal(lowered.broken_by, whole.broken_by)
    assert len(set(lowered.broken_by.tolist())) > 2
    assert shares == sorted(shares)
    # the clean images, eight and four of them against one alone, their gradients, and the first batch of the attack
    assert sum(size > 3 for size in sizes) == 5


@pytest.mark.parametrize("engine", ["package", "fast"])
def test_a_lowered_evaluation_resumes_anywhere(engine: str, tmp_path: Path) -> None:
    options = {"attacks": ATTACKS[:2], "engine": engine, "batch_size": 6}
    counts: list[float] = []
    quick(*limited(3)[0], **options, path=tmp_path / "whole.npz", progress=lambda share, _: counts.append(share))
    for stop in (1, 2, len(counts) // 3, len(counts) // 2, len(counts) - 1):
        path = tmp_path / f"{stop}.npz"
        given, sizes = limited(3)
        with pytest.raises(Stopped):
            quick(*given, **options, path=path, progress=stop_after(stop))
        sizes.clear()
        quick(*given, **options, path=path)
        assert path.read_bytes() == (tmp_path / "whole.npz").read_bytes()
        assert sum(size > 3 for size in sizes) <= (stop < 3)


@pytest.mark.parametrize("engine", ["package", "fast"])
def test_an_image_that_does_not_fit_alone_ends_it(engine: str, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"^memory: expected room for one image, .*Tried to allocate 2 GiB"):
        quick(*limited(0)[0], engine=engine, path=tmp_path / "evaluation.npz")
    assert not (tmp_path / "evaluation.npz").exists()


def test_the_fast_engine_attacks_no_more_rows_than_it_may() -> None:
    """Several target classes at a time make more rows than there are examples."""
    given, sizes = limited(100)
    quick(*given, attacks=("fab-t",), engine="fast", batch_size=250)
    assert max(sizes[-20:]) > len(given[1])
    fast = Fast()
    fast.at_most(5)
    (classifier, images, labels), sizes = limited(100)
    x, y = torch.from_numpy(images[:3].transpose(0, 3, 1, 2)), torch.from_numpy(labels[:3])
    with torch.no_grad():
        fast.attack(shortened(("fab-t",), classifier)[0], classifier.as_torch_module(), norm="Linf", eps=1e-6, seed=0)(
            x, y
        )
    assert 3 <= max(sizes) <= 5


def test_only_the_fast_engine_finds_its_size_on_a_gpu() -> None:
    classifier = setting()[0]
    classifier.images_at_once = lambda: 2112
    assert first_batch_size(None, "fast", "cuda", classifier) == 2112
    assert first_batch_size(None, "fast", "cpu", classifier) == BATCH_SIZE
    assert first_batch_size(None, "package", "cuda", classifier) == BATCH_SIZE == 250
    assert first_batch_size(None, "folded", "cuda", classifier) == BATCH_SIZE
    assert first_batch_size(100, "fast", "cuda", classifier) == 100


def test_a_gpu_gets_as_many_images_as_it_has_work_and_room_for() -> None:
    small = 3 * 32 * 32
    assert fitting(132, 2**40, 10**6, small) == 132 * 16
    assert fitting(66, 2**40, 10**6, small) == 66 * 16
    assert fitting(132, 2**40, 10**6, 3 * 224 * 224) == 64
    halves = [fitting(132, room, 10**7, small) for room in (2**34, 2**33)]
    assert halves[0] in (2 * halves[1], 2 * halves[1] + 1)
    assert halves[0] * 10**7 < 2**34
    assert fitting(132, 0, 10**7, small) == 1


def test_what_autograd_keeps_is_counted_per_image() -> None:
    """The output of tanh, and at most the input of the layer before it; the weights are not an image's."""
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 1000), torch.nn.Tanh())
    network.requires_grad_(False)
    kept = kept_bytes(network, torch.zeros(1, 1, 8, 8))
    assert 4 * 1000 <= kept <= 4 * (1000 + 64)
    assert (
        get_backend("torch")
        .wrap(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)), classes=10, image_shape=(8, 8, 1))
        .images_at_once()
        == 512
    )  # on a CPU
