"""Both backends in one process: the parity table, and checkpoints that go from one to the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torchrun import torchrun

from sat_core import checkpoint
from sat_core.attack_spec import AttackSpec
from sat_core.backend import Backend
from sat_core.batches import Planner
from sat_core.datasets import get_dataset
from sat_core.testing import PARITY, samples
from sat_core.testing.parity import ranking_difference
from sat_core.training_spec import TrainingSpec
from sat_evaluation.cli import main

pytestmark = pytest.mark.cross

DATA = get_dataset("digits")
ATTACK = AttackSpec(norm="L2", eps=0.5)


@pytest.mark.parametrize("name", PARITY)
def test_parity(backends: list[Backend], name: str) -> None:
    row = PARITY[name]
    assert row.measure(backends[0], backends[1]) <= row.limit, row.tolerance
    assert row.measure(backends[1], backends[0]) <= row.limit, row.tolerance


def test_the_digits_are_ranked_alike(backends: list[Backend]) -> None:
    order, missing = ranking_difference(backends[0], backends[1], DATA.train)
    assert order <= 10 * PARITY["order_of_the_ranking"].limit  # 45 steps of training apart, and near ties among 1,437
    assert missing <= PARITY["hardest_of_the_ranking"].limit


def test_two_ranks_of_either_train_alike(tmp_path: Path) -> None:
    """DistributedDataParallel and MultiWorkerMirroredStrategy, with BatchNorm of the whole batch."""
    import rank_cases

    cases, made = ("one member", "augmented"), []
    for name in ("torch", "tensorflow"):
        (tmp_path / name).mkdir()
        torchrun(Path(rank_cases.__file__), name, str(tmp_path / name), *cases)
        made.append(rank_cases.read(tmp_path / name / "1.npz"))
    for case in cases:
        apart = rank_cases.differences(made[0][case], made[1][case])
        # from one float64 step to the next only rounding differs; logits are given in float32
        assert max(apart.values()) <= 1e-6, (case, apart)


@pytest.fixture(scope="module", params=[0, 1], ids=["from torch", "from tensorflow"])
def saved(request: pytest.FixtureRequest, backends: list[Backend], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint after two epochs of SAT on the digits, by one of the backends."""
    backend, training = backends[request.param], TrainingSpec(epochs=2, lr=0.05, batch_size=32)
    options = {"classes": DATA.classes, "image_shape": DATA.image_shape, "mean": DATA.mean, "std": DATA.std}
    classifier = backend.build("small-cnn", **options)  # type: ignore[arg-type]
    planner = Planner(samples.split(len(DATA.train), 0.5), training, ATTACK, DATA.image_shape)
    plans = [planner.epoch(epoch) for epoch in range(2)]
    samples.train(backend.trainer(classifier, DATA.train, training, ATTACK), plans)
    path = tmp_path_factory.mktemp("saved") / "checkpoint-best.safetensors"
    threat = {"norm": ATTACK.norm, "eps": ATTACK.eps}
    checkpoint.save(path, {"model": classifier.state()}, {"model": dict(classifier.description), "attack": threat})
    return path


def test_a_checkpoint_is_the_same_in_the_other_backend(backends: list[Backend], saved: Path) -> None:
    one, other = (backend.load(saved) for backend in backends)
    assert one.state().keys() == other.state().keys()
    assert all(np.array_equal(other.state()[name], value) for name, value in one.state().items())
    np.testing.assert_allclose(other.logits(DATA.test.images), one.logits(DATA.test.images), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("saved", [0], indirect=True, ids=["from torch"])  # who has trained changes no attack
def test_autoattack_finds_the_same_examples(backends: list[Backend], saved: Path) -> None:
    images, labels = DATA.test.images[:100], DATA.test.labels[:100]
    evaluations = [backend.evaluate(backend.load(saved), images, labels, norm="L2", eps=0.5) for backend in backends]
    assert 0.05 < evaluations[0].robust.mean() < 0.95  # or there is nothing to compare
    assert (evaluations[0].robust == evaluations[1].robust).mean() >= 0.95


def test_the_command_evaluates_what_another_backend_has_trained(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = []
    for name in ("torch", "tensorflow"):
        arguments = [saved.with_suffix(""), "--data", "digits", "--backend", name, "--out", tmp_path / name]
        options = ["--attacks", "apgd-ce", "--examples", "100"]
        assert main(["evaluate", *map(str, arguments), *options]) == 0
        (flags,) = (tmp_path / name).glob("*.npz")
        with np.load(flags) as arrays:
            scores.append(arrays["broken_by"])
    assert (scores[0] == scores[1]).mean() >= 0.95
    assert capsys.readouterr().out.count("apgd-ce") == 2
