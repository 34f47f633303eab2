"""Plug-ins that are modules of the working directory: every process of a run loads them, and no reader does."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from plugin_folders import REGISTRIES, registries_as_they_were
from sat_command import OWN, refused, sat
from toys import digits

from sat_core.backend import Backend
from sat_core.checkpoint import read, save
from sat_evaluation.cli import main

pytestmark = pytest.mark.backend

RULES = """
import os, pathlib
from sat_core.selection import SELECTION_RULES, SelectionRule

class Last(SelectionRule):
    name = "sat-test-last"
    needs_ranking = False
    def order(self, ranking, listed, rng):
        return ranking[ranking.argsort()[::-1]]

SELECTION_RULES.register("sat-test-last", Last())
pathlib.Path(__file__).with_name("loaded").mkdir(exist_ok=True)
pathlib.Path(__file__).with_name("loaded").joinpath(str(os.getpid())).touch()
"""
NETS = """
from sat_core.models import MODELS, Model

make = "sat_test_code:make"
MODELS.register("sat-test-net", Model(name="sat-test-net", functions={"torch": make, "tensorflow": make}))
"""
STUDY = """
plugins = ["sat_test_rules"]
data.name = "npz:{data}"
model.name = "sat-test-net"
[subset]
strategy = "sat-test-last"
[training]
epochs = 1
batch_size = 32
[evaluation]
selection_share = 0.05
selection_attacks = ["apgd-ce"]
attacks = ["apgd-ce"]
examples = 4
[grid]
subset.size = [10, 20]
"""


@pytest.fixture
def project(tmp_path: Path, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with a study and its modules."""
    folder = tmp_path / "project"
    folder.mkdir()
    code = OWN[backend.name].replace("classes - 2", "classes").replace("def few", "def make")
    study = STUDY.format(data=digits(tmp_path / "five.npz"))
    for name, text in {"rules.py": RULES, "nets.py": NETS, "code.py": code}.items():
        (folder / f"sat_test_{name}").write_text(text)
    (folder / "study.toml").write_text(study)
    monkeypatch.chdir(folder)
    with registries_as_they_were():
        yield folder


@pytest.mark.torch  # which process imports what is nothing of a framework's
def test_every_process_of_a_run_loads_plug_ins_and_no_reader_does(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = sat("run", "study.toml", "--out", "out", "--jobs", "2", "--import", "sat_test_nets")
    assert done.returncode == 0, done.stderr
    # the command itself, and a worker for each arm
    loaded = {path.name for path in (project / "loaded").iterdir()}
    assert len(loaded) >= 3
    results = sorted(project.glob("out/arms/*/results.json"))
    assert len(results) == 2
    for path in results:
        spec = json.loads(path.read_text())["spec"]
        assert spec["plugins"] == ["sat_test_rules", "sat_test_nets"]
        size = spec["subset"]["size"]
        assert json.loads((path.parent / "split.json").read_text())["members"] == [*range(160 - size, 160)]

    # not even in the folder where the modules are
    for reads in (["status", "out"], ["report", "out"]):
        assert main(reads) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    assert all(path.parent.name in printed for path in results)
    assert {path.name for path in (project / "loaded").iterdir()} == loaded

    # who computes imports what the folder names once the user has named it, too
    options, data = ["--level", "screening", "--arms", "*10"], f"npz:{project.parent / 'five.npz'}"
    transfer = ["transfer", str(results[0].parent), "--data", data, "--out", "heads", *HEAD]
    imports = ["--import", "sat_test_rules", "--import", "sat_test_nets"]
    trust = f"names the modules sat_test_rules, sat_test_nets; give {' '.join(imports)} if you trust them"
    for command in (["evaluate", "out", *options], ["evaluate", "out", *options, "--devices", "2"]):
        refused(capsys, command, f"out: {trust}")
    refused(capsys, transfer, f"{results[0].parent}: {trust}")
    refused(capsys, ["transfer", "out", *transfer[2:]], f"out: {trust}")
    refused(
        capsys,
        ["evaluate", "out", *options, *imports[2:]],
        "out: names the modules sat_test_rules; give --import sat_test_rules if you trust it",
    )
    assert {path.name for path in (project / "loaded").iterdir()} == loaded
    assert not (project / "heads").exists()
    monkeypatch.chdir(project.parent)
    gone = "--import: cannot import 'sat_test_rules' (ModuleNotFound"
    refused(capsys, ["evaluate", project / "out", *options, *imports], gone)
    monkeypatch.chdir(project)
    assert main(["evaluate", "out", *options, *imports]) == 0, capsys.readouterr().err
    assert str(os.getpid()) in {path.name for path in (project / "loaded").iterdir()}
    checkpoint = str(results[0].with_name("checkpoint-best.safetensors"))
    options = ["--data", data, "--attacks", "apgd-ce", "--examples", "4", "--model", "sat-test-net"]
    assert main(["evaluate", checkpoint, *options, "--import", "sat_test_nets"]) == 0, capsys.readouterr().err
    assert main([*transfer, *imports]) == 0
    (head,) = project.glob("heads/arms/*/results.json")
    assert json.loads(head.read_text())["spec"]["plugins"] == ["sat_test_rules", "sat_test_nets"]

    # a checkpoint does not say which module brings its norm
    saved = read(checkpoint)
    other = project / "other.safetensors"
    save(other, saved.groups, {**saved.metadata, "attack": {**saved.metadata["attack"], "norm": "sat-test-norm"}})
    says = "other.safetensors: was trained in the norm 'sat-test-norm', which no loaded module brings; give --import"
    refused(capsys, ["evaluate", "other.safetensors", *options], says)


HEAD = ["--set", "epochs=1", "--set", "batch_size=32"]


def test_what_cannot_be_imported_or_is_not_named_is_refused_in_a_line(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = project / "study.toml"
    run = ["run", study, "--out", "out", "--dry-run", "--set", "model.name=linear"]
    missing = "cannot import 'sat_test_gone' (ModuleNotFoundError: No module named 'sat_test_gone'"
    refused(capsys, [*run, "--import", "sat_test_gone"], f"--import: {missing}")
    refused(capsys, [*run, "--set", 'plugins=["sat_test_gone"]'], f"plugins: {missing}")
    study.write_text(study.read_text().replace('plugins = ["sat_test_rules"]', ""))
    with registries_as_they_were():
        for registry in REGISTRIES:
            registry._entries.pop("sat-test-last", None)
        refused(capsys, run, "subset.strategy: expected one of hardest,")
    assert main([*map(str, run), "--import", "sat_test_rules"]) == 0, capsys.readouterr().err
    assert 'plugins = [\n    "sat_test_rules",\n]' in capsys.readouterr().out
    assert not (project / "out").exists()
