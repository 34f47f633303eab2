"""The folders of a run own the names of its files: no other module has them, or joins paths in a run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

OWNERS = ("folder.py", "unit_folder.py", "run_folder.py")
OF_JOBS = "evaluation_folder.py"
"""The same for the jobs of evaluations, which have no other files in common with runs."""
NAMES = (
    *("spec.toml", "results.json", "split.json", "ranking.npz", "selection.json", "seconds.json", "examples.npz"),
    *("attacked.npz", "progress.json", "log.txt", "failed.json", "summary.csv", "jobs.json", "trackers.json"),
    *("checkpoint-best.safetensors", "checkpoint-last.safetensors", "events.out.tfevents.sat"),
)


def findings(source: str) -> Iterator[str]:
    """File names of a run, whole or at the end of a path, and ``folder.path / name``; messages may mention them."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if re.fullmatch(rf"([\w*-]*/)*({'|'.join(map(re.escape, NAMES))})", node.value):
                yield node.value
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            sides = ast.walk(node.left)
            if any(isinstance(side, ast.Attribute) and side.attr == "path" for side in sides):
                yield ast.unparse(node)


@pytest.mark.parametrize("package", ["sat_core", "sat_evaluation"])
def test_only_folders_know_the_files_of_a_run(package: str) -> None:
    spec = find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    paths = sorted(Path(spec.submodule_search_locations[0]).rglob("*.py"))
    found = {path.name: list(findings(path.read_text())) for path in paths if path.name not in (*OWNERS, OF_JOBS)}
    assert len(found) > 5
    assert not {name: texts for name, texts in found.items() if texts}


def test_the_scan_finds_names_and_joined_paths() -> None:
    assert list(findings("x = 'split.json'")) == ["split.json"]
    assert list(findings("x = 'arms/a/results.json'")) == ["arms/a/results.json"]
    assert list(findings("folder.path / name")) == ["folder.path / name"]
    assert list(findings("raise ValueError('delete its results.json')")) == []


def test_the_folders_have_all_these_names() -> None:
    spec = find_spec("sat_core")
    assert spec is not None
    assert spec.submodule_search_locations
    root = Path(spec.submodule_search_locations[0])
    owned = {text for name in OWNERS for text in findings((root / name).read_text())}
    assert {*NAMES} <= owned
