"""Files of PyTorch, of any program: read whatever is around the weights, and never executed."""

from __future__ import annotations

import argparse
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sat_core.backend import Backend
from sat_core.classifier import Classifier
from sat_core.errors import CheckpointError

pytestmark = pytest.mark.torch

SHAPE = (4, 4, 1)


def network(seed: int = 0, classes: int = 3) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, classes)
        ).eval()


def classifier(backend: Backend) -> Classifier:
    return backend.wrap(network(), image_shape=SHAPE)


def refusal(backend: Backend, path: Path) -> str:
    """Return why the file is refused, in at most three lines; the network keeps its weights."""
    into = classifier(backend)
    before = into.state()
    with pytest.raises(CheckpointError) as error:
        backend.load_weights(into, path)
    assert all(np.array_equal(value, before[name]) for name, value in into.state().items())
    message = str(error.value)
    assert message.startswith(str(path))
    assert len(message.splitlines()) <= 3
    return message.removeprefix(str(path))


def test_weights_come_out_of_every_usual_file(backend: Backend, tmp_path: Path) -> None:
    other, images = network(1), np.random.default_rng(0).random((5, *SHAPE), np.float32)
    state, expected = other.state_dict(), backend.wrap(other, image_shape=SHAPE).logits(images)
    parallel = {f"module.{name}": value for name, value in state.items()}
    files: dict[str, Any] = {
        "own.pt": state,
        "own.pth": {"epoch": 3, "state_dict": parallel, "optimizer": {"lr": 0.1, "steps": [1, 2]}},
        "own.ckpt": {"model_state_dict": {f"_orig_mod.{name}": value for name, value in state.items()}},
        "pytorch_model.bin": {"ema": {f"model.{name}": nn.Parameter(v.float()) for name, v in state.items()}},
        "weights": {"net": state},
    }
    for name, content in files.items():
        for zipped in (True, False):
            torch.save(content, tmp_path / name, _use_new_zipfile_serialization=zipped)
            into = classifier(backend)
            if name == "pytorch_model.bin":  # its counter is a float there
                content["ema"].pop("model.1.num_batches_tracked", None)
                torch.save(content, tmp_path / name, _use_new_zipfile_serialization=zipped)
            lines = backend.load_weights(into, tmp_path / name)
            np.testing.assert_array_equal(into.logits(images), expected)
            assert len(lines) == {"own.pt": 0, "weights": 1}.get(name, 2), lines
    torch.save({name: value.bfloat16() for name, value in state.items() if value.ndim}, tmp_path / "half.pt")
    backend.load_weights(into, tmp_path / "half.pt")
    np.testing.assert_array_equal(into.state()["4.weight"], state["4.weight"].bfloat16().float().numpy())


class Bomb:
    """Makes a folder where it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_a_file_is_executed(backend: Backend, tmp_path: Path, zipped: bool) -> None:
    made, path = tmp_path / "made", tmp_path / "own.pt"
    state = network(1).state_dict()
    for content, says in (
        ({"state_dict": state, "bomb": Bomb(made)}, ": refused an object of 'posix.mkdir'"),
        (Bomb(made), ": refused an object of 'posix.mkdir'"),
        ({"state_dict": state, "args": argparse.Namespace(lr=0.1)}, ": refused an object of 'argparse.Namespace'"),
        (network(1), ": a whole pickled module ('torch.nn.modules.container.Sequential')"),
        ({"model": network(1)}, ": a whole pickled module"),
    ):
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        says_so = refusal(backend, path)
        assert says_so.startswith(says)
        assert "torch.save(model.state_dict(), path)" in says_so
        assert not made.exists()


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_files_that_hold_no_weights_are_refused(backend: Backend, tmp_path: Path) -> None:
    path, state = tmp_path / "own.pt", network(1).state_dict()
    stretched = torch.zeros(1).expand(10**12)
    for content, says in (
        ({}, "got an empty table"),
        ({"state_dict": {"model": {}}}, "got an empty table"),
        ({"epoch": 3}, "got a table with epoch"),
        ([state], "got list"),
        ({**state, "4.bias": torch.full((3,), torch.nan)}, "'4.bias': expected finite numbers"),
        (network(1, classes=5).state_dict(), "'4.weight': expected shape (3, 8), got shape (5, 8)"),
        ({**state, "mean": torch.zeros(1)}, "has 'mean', which the network has not"),
        ({**state, "4.bias": stretched}, "'4.bias': expected a plain tensor with all its numbers, got float32"),
        ({**state, "4.bias": torch.ones(3).to_sparse()}, "'4.bias': expected a plain tensor"),
        ({**state, "4.bias": torch.ones(3, device="meta")}, "'4.bias': expected a plain tensor"),
    ):
        torch.save(content, path)
        assert says in refusal(backend, path)
    torch.save(state, path)
    whole = path.read_bytes()
    for damaged in (b"", whole[:100], whole[:-200], b"PK\x03\x04 nothing", b"\x80\x02}q\x00.", b"text"):
        path.write_bytes(damaged)
        assert refusal(backend, path)
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), path)
    assert refusal(backend, path).startswith(": a TorchScript archive, which is a program")


def test_files_of_keras_name_the_backend_that_reads_them(backend: Backend, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "own.keras", "w") as archive:
        archive.writestr("model.weights.h5", b"")
    (tmp_path / "own.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99))
    for name in ("own.keras", "own.h5"):
        assert "--backend tensorflow" in refusal(backend, tmp_path / name)


def test_weights_alone_are_no_network(backend: Backend, tmp_path: Path) -> None:
    from sat_core.input_spec import InputSpec

    torch.save(network().state_dict(), tmp_path / "own.pt")
    with pytest.raises(CheckpointError, match=r"own\.pt: has weights, and does not say of which network\n.*--model"):
        backend.load_network(InputSpec(3, SHAPE), tmp_path / "own.pt")
