"""Plug-ins that are modules of the working directory: every process of a run loads them, and no reader does."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from sat_command import OWN, sat
from toys import digits

from sat_core.backend import Backend

pytestmark = pytest.mark.backend

RULES = """
import os, pathlib
from sat_core.selection import SELECTION_RULES, SelectionRule

class Last(SelectionRule):
    name = "sat-test-last"
    needs_ranking = False
    def order(self, ranking, listed, rng):
        return sorted(ranking.tolist())[::-1]

SELECTION_RULES.register("sat-test-last", Last())
pathlib.Path("loaded").mkdir(exist_ok=True)
pathlib.Path("loaded", str(os.getpid())).touch()
"""
NETS = """
from sat_core.models import MODELS, Model

MODELS.register("sat-test-net", Model(name="sat-test-net", functions={"torch": "nets:make", "tensorflow": "nets:make"}))
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
selection_share = 0.3
selection_attacks = ["apgd-ce"]
attacks = ["apgd-ce"]
examples = 8
[grid]
subset.size = [10, 20]
"""


def ran(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(done: subprocess.CompletedProcess[str], says: str) -> None:
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3


def test_workers_load_what_a_study_and_the_command_line_name(tmp_path: Path, backend: Backend) -> None:
    project = tmp_path / "project"
    project.mkdir()
    data = digits(tmp_path / "five.npz")
    for name, text in {
        "sat_test_rules.py": RULES,
        "sat_test_nets.py": NETS,
        "nets.py": OWN[backend.name].replace("classes - 2", "classes").replace("def few", "def make"),
        "study.toml": STUDY.format(data=data),
    }.items():
        (project / name).write_text(text)
    command = ("run", "study.toml", "--out", "out", "--jobs", "2", "--import", "sat_test_nets")
    ran(sat(*command, cwd=project))
    # the command itself, and two workers that were not forked from it
    assert len([*(project / "loaded").iterdir()]) >= 3
    for path in project.glob("out/arms/*/results.json"):
        spec = json.loads(path.read_text())["spec"]
        assert spec["plugins"] == ["sat_test_rules", "sat_test_nets"]
        size = spec["subset"]["size"]
        assert json.loads((path.parent / "split.json").read_text())["members"] == [*range(160 - size, 160)]
    assert len([*project.glob("out/arms/*/results.json")]) == 2
    before = {path: path.stat().st_mtime_ns for path in project.rglob("results.json")}
    ran(sat(*command, cwd=project))
    assert before == {path: path.stat().st_mtime_ns for path in project.rglob("results.json")}

    # reading needs no plug-in, and imports none, not even from the folder where they are
    loads = len([*(project / "loaded").iterdir()])
    for where in (tmp_path, project):
        assert "2 of 2" in ran(sat("status", project / "out", cwd=where))
        assert ran(sat("report", project / "out", cwd=where))
    assert len([*(project / "loaded").iterdir()]) == loads

    # computing goes on with what the folder names, where it can be imported
    evaluate = ("evaluate", project / "out", "--level", "screening", "--arms", "*10")
    ran(sat(*evaluate, cwd=project))
    refused(sat(*evaluate, cwd=tmp_path), "plugins: cannot import 'sat_test_rules' (ModuleNotFoundError")
    checkpoint = next(project.glob("out/arms/*10/checkpoint-best.safetensors"))
    options = ("--data", f"npz:{data}", "--attacks", "apgd-ce", "--examples", "4", "--model", "sat-test-net")
    ran(sat("evaluate", checkpoint, *options, "--import", "sat_test_nets", cwd=project))
    heads = (
        "transfer",
        "out",
        "--data",
        f"npz:{data}",
        "--out",
        "heads",
        "--set",
        "epochs=1",
        "--set",
        "batch_size=32",
    )
    ran(sat(*heads, cwd=project))
    assert len([*project.glob("heads/arms/*/results.json")]) == 2


def test_what_cannot_be_imported_or_is_not_named_is_refused_in_a_line(tmp_path: Path) -> None:
    data = digits(tmp_path / "five.npz")
    study = tmp_path / "study.toml"
    study.write_text(
        STUDY.format(data=data).replace('plugins = ["sat_test_rules"]', "").replace("sat-test-net", "linear")
    )
    refused(sat("run", study, "--out", "out", cwd=tmp_path), "subset.strategy: expected one of hardest,")
    missing = sat("run", study, "--out", "out", "--import", "sat_test_rules", cwd=tmp_path)
    refused(missing, "--import: cannot import 'sat_test_rules' (ModuleNotFoundError: No module named 'sat_test_rules')")
    (tmp_path / "sat_test_rules.py").write_text(RULES)
    assert "sat-test-last" in ran(
        sat("run", study, "--out", "out", "--import", "sat_test_rules", "--dry-run", cwd=tmp_path)
    )
    assert not (tmp_path / "out").exists()
