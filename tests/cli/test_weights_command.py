"""`sat evaluate` on weights of any program and on networks by name."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from sat_command import refused
from torch import nn
from toys import digits

from sat_evaluation.cli import main

pytestmark = pytest.mark.torch

FACTORIES = """
from torch import nn

def make(classes, image_shape):
    h, w, c = image_shape
    return nn.Sequential(nn.Flatten(), nn.Linear(h * w * c, classes))

class Several(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(64, 5)

    def forward(self, x):
        return {"features": x, "head": {"scores": self.net(x.flatten(1))}}

def several(**_):
    return Several()

def ten(**_):
    return make(10, (8, 8, 1))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory of a user, with a module of networks, and weights of another program."""
    (tmp_path / "own_nets.py").write_text(FACTORIES)
    monkeypatch.chdir(tmp_path)
    digits(tmp_path / "five.npz")
    network = nn.Linear(64, 5)
    with torch.no_grad():
        network.weight.copy_(torch.linspace(-1, 1, 320).reshape(5, 64).sin())
    state = {"weight": network.weight, "bias": network.bias.detach() * 0}
    torch.save({"epoch": 7, "state_dict": {f"module.1.{name}": v for name, v in state.items()}}, tmp_path / "own.pt")
    torch.save({f"net.{name}": value * 2 for name, value in state.items()}, tmp_path / "several.pt")
    path = [*sys.path]
    yield tmp_path
    sys.path[:] = path
    sys.modules.pop("own_nets", None)


THREAT = ["--norm", "Linf", "--eps", "8/255"]
OPTIONS = ["--data", "npz:five.npz", "--attacks", "apgd-ce", "--examples", "20"]
MAKE = ["--model", "own_nets:make"]


def evaluated(*arguments: Any) -> dict[str, Any]:
    """Run the command, and return the newest of its results."""
    before = {*Path("evaluate").glob("*.json")}
    assert main(["evaluate", *map(str, arguments), *OPTIONS, *THREAT]) == 0
    (new,) = {*Path("evaluate").glob("*.json")} - before
    assert new.with_suffix(".npz").exists()
    return json.loads(new.read_text())  # type: ignore[no-any-return]


def test_weights_of_another_program_are_attacked_and_what_was_done_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = evaluated("own.pt", *MAKE)
    printed = capsys.readouterr().err
    assert "the network gets images in [0, 1], not normalised" in printed
    assert "weights under 'state_dict'" in printed
    assert "'module', of DataParallel" in printed
    assert plain["network"].pop("taken")[0] == "weights under 'state_dict'"
    sha256 = plain["network"]["weights"].pop("sha256")
    assert len(sha256) == 64
    assert plain["network"] == {
        "model": "own_nets:make",
        "weights": {"file": "own.pt"},
        "mean": [],
        "std": [],
        "scaling": None,
        "output": "",
    }
    # in one folder, no evaluation is taken for that of other weights or inputs
    normalised = evaluated("own.pt", *MAKE, "--mean", "0.5", "--std", "1/255")
    assert "minus 0.5, divided by 0.003922" in capsys.readouterr().err
    assert (normalised["network"]["mean"], normalised["network"]["std"]) == ([0.5], [1 / 255])
    torch.save({f"1.{name}": value * 0 for name, value in nn.Linear(64, 5).state_dict().items()}, folder / "own.pt")
    other = evaluated("own.pt", *MAKE)
    assert other["network"]["weights"]["sha256"] != sha256
    alone = evaluated(*MAKE)
    assert alone["network"]["weights"] is None
    assert len([*folder.glob("evaluate/*.npz")]) == 4
    # a second time, the file is read
    assert main(["evaluate", "own.pt", *MAKE, *OPTIONS, *THREAT]) == 0
    assert len([*folder.glob("evaluate/*.npz")]) == 4


@pytest.mark.usefixtures("folder")
def test_logits_are_found_in_what_a_network_returns(capsys: pytest.CaptureFixture[str]) -> None:
    several = ["several.pt", "--model", "own_nets:several"]
    found = evaluated(*several, "--output", "head.scores")
    assert found["network"]["output"] == "head.scores"
    state = torch.load("several.pt")
    torch.save({f"1.{name.removeprefix('net.')}": value for name, value in state.items()}, "plain.pt")
    plain = evaluated("plain.pt", *MAKE)
    assert found["robust_accuracy"] == plain["robust_accuracy"]
    assert found["clean_accuracy"] == plain["clean_accuracy"]
    capsys.readouterr()
    refused(capsys, ["evaluate", *several, "--output", "head.logits", *OPTIONS, *THREAT], "--output: expected a part")
    says = 'as output="head.scores" (studies: model.output, command line: --output)'
    refused(capsys, ["evaluate", *several, "--output", "head", *OPTIONS, *THREAT], says)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "PATH: expected weights or the folder of a study, or --model with what comes with its own"),
        (
            ["timm:resnet18d", *THREAT],
            "got 'timm:resnet18d', which is not there\ngive the name of a network as --model",
        ),
        (["own.pt", *THREAT], "own.pt: has weights, and does not say of which network\ngive that, too: --model"),
        (["own.pt", *MAKE], "own.pt: does not say its threat model; give --norm and --eps"),
        (MAKE, "own_nets:make: does not say its threat model; give --norm and --eps"),
        (["gone.pt", *MAKE, *THREAT], "gone.pt: no such checkpoint"),
        (["own.pt", "--model", "own_nets:ten", *THREAT], "expected logits for the 5 classes of the data, got 10 from"),
        (["several.pt", *MAKE, *THREAT], "several.pt: '1.weight': expected shape (5, 64), got nothing of that name"),
        (["own.pt", *MAKE, *THREAT, "--mean", "0.5"], "--mean, --std: give both: --std is missing"),
        (["own.pt", *MAKE, *THREAT, "--mean", "x", "--std", "1"], "--mean: expected numbers or fractions >= 0"),
        (["own.pt", *MAKE, *THREAT, "--mean", "0", "--std", "0"], "--std: expected numbers or fractions > 0"),
        (["--model", "keras:ResNet50", *THREAT], "is a network for the backend 'tensorflow', got 'torch'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_evaluated(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, ["evaluate", *arguments, *OPTIONS], says)
    assert not Path("evaluate").exists()
