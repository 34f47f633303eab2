"""Rooms of `sat_evaluation` import from left to right, and no modules import each other in a circle."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOMS = ("statistics", "attack", "results", "figures", "trackers", "plan", "run", "paper", "report", "publish", "cli")
"""In their order: each may import those before it."""
STRANGERS = ({"attack", "results"},)
"""Rooms that know nothing of each other."""

Graph = Mapping[str, set[str]]
"""Modules to the modules that they import, those for type checkers and inside functions included."""


def import_graph(sources: Mapping[str, str]) -> Graph:
    """Who imports whom among modules of these names and sources."""
    graph = {}
    for module, source in sources.items():
        imported = set()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                submodules = {f"{node.module}.{alias.name}": alias for alias in node.names}
                imported |= {name if name in sources else node.module for name in submodules}
        graph[module] = imported & sources.keys() - {module}
    return graph


def circles(graph: Graph) -> list[list[str]]:
    """Modules on a circle or between two, with those that they import: what is left without the ends of all chains."""
    left = {module: set(imported) for module, imported in graph.items()}
    while True:
        needed = {other for imported in left.values() for other in imported}
        circle = {module: imported & left.keys() for module, imported in left.items() if module in needed}
        circle = {module: imported for module, imported in circle.items() if imported}
        if circle == left:
            return [[module, *sorted(imported)] for module, imported in sorted(left.items())]
        left = circle


def arrows_back(graph: Graph) -> list[tuple[str, str]]:
    """Imports of a module of `sat_evaluation` from a room to the right of its own."""
    found = []
    for module, imported in graph.items():
        for other in imported:
            rooms = [name.split(".")[1] for name in (module, other) if name.startswith("sat_evaluation.")]
            if len(rooms) == 2 and (ROOMS.index(rooms[1]) > ROOMS.index(rooms[0]) or set(rooms) in STRANGERS):
                found.append((module, other))
    return found


def sources(package: str) -> dict[str, str]:
    spec = find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    root = Path(spec.submodule_search_locations[0])
    names = {path: ".".join((package, *path.relative_to(root).with_suffix("").parts)) for path in root.rglob("*.py")}
    return {name.removesuffix(".__init__"): path.read_text() for path, name in names.items()}


@pytest.mark.parametrize("package", ["sat_core", "sat_evaluation", "sat_datasets", "sat_torch", "sat_tensorflow"])
def test_no_modules_import_each_other_in_a_circle(package: str) -> None:
    graph = import_graph(sources(package))
    assert len(graph) > 5
    assert circles(graph) == []


def test_rooms_import_from_left_to_right() -> None:
    graph = import_graph(sources("sat_evaluation"))
    assert {module.split(".")[1] for module in graph if "." in module} == {*ROOMS}
    assert arrows_back(graph) == []


def test_the_scan_finds_circles_and_arrows_back() -> None:
    a = "if TYPE_CHECKING:\n    from sat_evaluation.paper.b import x\n"
    b = "def f():\n    from sat_evaluation import run\n    from sat_evaluation.run import a\n"
    modules = {"sat_evaluation.run.a": a, "sat_evaluation.paper.b": b, "sat_evaluation.run": "import json"}
    graph = import_graph(modules)
    assert graph["sat_evaluation.paper.b"] == {"sat_evaluation.run", "sat_evaluation.run.a"}
    assert [circle[0] for circle in circles(graph)] == ["sat_evaluation.paper.b", "sat_evaluation.run.a"]
    assert arrows_back(graph) == [("sat_evaluation.run.a", "sat_evaluation.paper.b")]
    assert arrows_back({"sat_evaluation.results.c": {"sat_evaluation.attack.d"}})
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == []
