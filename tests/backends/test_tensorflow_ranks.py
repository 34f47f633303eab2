"""Two processes train with TensorFlow as one does."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest
import rank_cases
from torchrun import torchrun

from sat_core.backend import Backend
from sat_core.process_group import ALONE
from sat_core.testing import samples

pytestmark = pytest.mark.tensorflow

Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Arrays]]:
    """What each of two processes leaves behind, by training and name."""
    import tensorflow_ranks

    folder = tmp_path_factory.mktemp("ranks")
    torchrun(Path(tensorflow_ranks.__file__), str(folder))
    return [rank_cases.read(folder / f"{rank}.npz") for rank in (0, 1)]


def test_two_processes_train_as_one(ranks: list[dict[str, Arrays]], backend: Backend) -> None:
    """Every weight, buffer, loss and statistic; also where only one of them has a member of A in its batch."""
    import tensorflow_ranks

    for name, case in tensorflow_ranks.CASES.items():
        alone = tensorflow_ranks.run(case)
        for rank in ranks:
            apart = rank_cases.differences(alone, rank[f"case {name}"])
            assert max(apart.values()) <= case.close, (name, max(apart, key=lambda key: apart[key]))


def test_batch_norm_over_ranks_is_that_of_the_whole_batch(ranks: list[dict[str, Arrays]], backend: Backend) -> None:
    """Also in float32 where the mean is a thousand standard deviations, and E[x²] - E[x]² would be wrong by a tenth."""
    import tensorflow_ranks

    alone = tensorflow_ranks.normalise(ALONE, "float64")
    for rank in ranks:
        for dtype, close in (("float64", 1e-9), ("float32", 3e-3)):
            apart = rank_cases.differences(alone, rank[f"layer {dtype}"])
            assert max(apart.values()) <= close, (dtype, apart)


def test_local_statistics_are_those_of_rank_0(ranks: list[dict[str, Arrays]], backend: Backend) -> None:
    import tensorflow_ranks

    case, key = tensorflow_ranks.STILL, "model bn1.running_mean"
    whole, share = (
        rank_cases.run(backend, samples.build(backend, "small-cnn"), case, share=share)[key]
        for share in ((0, 1), (0, 2))
    )
    assert np.abs(share - whole).max() > 1e-3
    for rank in ranks:
        np.testing.assert_allclose(rank["local"][key], share, atol=1e-9)


def test_layers_draw_differently_on_each_rank_and_the_same_in_each_run(ranks: list[dict[str, Arrays]]) -> None:
    for rank in ranks:
        np.testing.assert_array_equal(rank["drawn"]["first"], rank["drawn"]["again"])
    assert (ranks[0]["drawn"]["first"] != ranks[1]["drawn"]["first"]).all()


def test_a_rank_hears_that_it_is_to_stop(ranks: list[dict[str, Arrays]]) -> None:
    assert [rank["stop"]["told"].tolist() for rank in ranks] == [[signal.SIGTERM]] * 2
