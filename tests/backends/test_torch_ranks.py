"""Two processes train with PyTorch as one does."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import rank_cases
from torchrun import torchrun

from sat_core.backend import Backend
from sat_core.errors import SpecError
from sat_core.process_group import ProcessGroup
from sat_core.testing import samples

pytestmark = pytest.mark.torch

Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Arrays]]:
    """What each of two processes leaves behind, by training or layer, and name."""
    import torch_ranks

    folder = tmp_path_factory.mktemp("ranks")
    said = torchrun(Path(torch_ranks.__file__), str(folder))
    # Nothing of parameters that no step uses, or of what is deprecated.
    assert "Warning" not in said
    return [rank_cases.read(folder / f"{rank}.npz") for rank in (0, 1)]


def test_two_processes_train_as_one(ranks: list[dict[str, Arrays]]) -> None:
    """Every weight, buffer, loss and statistic; also where only one of them has a member of A in its batch."""
    import torch_ranks

    for name, case in torch_ranks.CASES.items():
        alone = torch_ranks.run(case)
        for rank in ranks:
            apart = rank_cases.differences(alone, rank[f"case {name}"])
            assert max(apart.values()) <= case.close, (name, max(apart, key=lambda key: apart[key]))


def test_ranks_capture_their_attacks_alone(ranks: list[dict[str, Arrays]]) -> None:
    import torch_ranks

    alone = torch_ranks.run(torch_ranks.CAPTURED)
    for rank in ranks:
        assert max(rank_cases.differences(alone, rank["captured"]).values()) <= torch_ranks.CAPTURED.close


def test_batch_norm_over_ranks_is_that_of_the_whole_batch(ranks: list[dict[str, Arrays]]) -> None:
    import torch_ranks

    for name in torch_ranks.LAYERS:
        alone = torch_ranks.normalise(name)
        for rank in ranks:
            assert max(rank_cases.differences(alone, rank[f"layer {name}"]).values()) <= 1e-9, name


def test_local_statistics_are_those_of_rank_0(ranks: list[dict[str, Arrays]], backend: Backend) -> None:
    import torch_ranks

    case, key = torch_ranks.STILL, "model bn1.running_mean"
    whole, share = (
        rank_cases.run(backend, samples.build(backend, "small-cnn"), case, share=share)[key]
        for share in ((0, 1), (0, 2))
    )
    first, second = (rank["local"][key] for rank in ranks)
    np.testing.assert_allclose(first, share, atol=1e-9)
    assert np.abs(first - whole).max() > 1e-3
    np.testing.assert_array_equal(second, first)


def test_ranks_do_not_talk_in_an_attack(ranks: list[dict[str, Arrays]]) -> None:
    talks = [int(number) for rank in ranks for number in rank["talks"].values()]
    assert talks[0] > 5 * 2 * 3  # in each of five steps each of three layers of BatchNorm does, forward and backward
    assert {*talks} == {talks[0]}


def test_layers_draw_differently_on_each_rank_and_the_same_in_each_run(ranks: list[dict[str, Arrays]]) -> None:
    for rank in ranks:
        np.testing.assert_array_equal(rank["drawn"]["first"], rank["drawn"]["again"])
    assert (ranks[0]["drawn"]["first"] != ranks[1]["drawn"]["first"]).all()


def test_an_own_loop_does_not_wait_for_an_attack_that_only_one_rank_makes(ranks: list[dict[str, Arrays]]) -> None:
    import own_step

    model = own_step.network()
    own_step.make(model)(*own_step.batch())[1].backward()
    for name, parameter in model.named_parameters():
        for rank in ranks:
            for gradient in (rank["own step"][name], rank["own step"][f"network.{name}"]):
                np.testing.assert_allclose(gradient, parameter.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_compiled_batch_norm_cannot_be_global() -> None:
    import torch
    from torch import nn

    from sat_torch.distributed import norms

    network = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    for hidden in (torch.compile(network, backend="eager"), torch.jit.script(network)):
        with pytest.raises(SpecError, match=r'^training.batch_norm: expected "local", as the network is compiled'):
            norms(hidden, "global")
        norms(hidden, "local")
    norms(torch.compile(network[0], backend="eager"), "global")


def test_a_backend_joins_ranks_that_pytorch_knows(backend: Backend) -> None:
    group: Any = cast(ProcessGroup, type("Two", (), {"rank": 1, "size": 2}))
    with pytest.raises(SpecError, match=r"^group: expected rank 1 of 2 in .*, got rank 0 of 1\ncall torch.distributed"):
        backend.join(group)
