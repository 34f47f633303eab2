"""Who may import whom, what an import costs, how long a file may be, and what the wheel brings."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import files as installed_files
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.installed

OURS = ("sat_core", "sat_torch", "sat_tensorflow", "sat_datasets", "sat_evaluation")
MAY_IMPORT = {
    "sat_core": {"sat_core"},
    "sat_torch": {"sat_core", "sat_torch"},
    "sat_tensorflow": {"sat_core", "sat_tensorflow"},
    "sat_datasets": {"sat_core", "sat_datasets"},
    "sat_evaluation": {"sat_core", "sat_datasets", "sat_evaluation"},
}
HEAVY = ("torch", "tensorflow", "keras", "sklearn", "scipy", "PIL", "matplotlib", "rich", "safetensors", "tomli_w")
FRAMEWORKS = ("torch", "torchvision", "tensorflow", "keras", "jax")


def imported_names(source: str) -> set[str]:
    """Top-level names of the modules that a source file imports anywhere."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


def sources(package: str) -> list[Path]:
    spec = find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    return sorted(Path(spec.submodule_search_locations[0]).rglob("*.py"))


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_one_way(package: str) -> None:
    imports = {path.name: imported_names(path.read_text()) & set(OURS) for path in sources(package)}
    assert imports
    assert not {name: used for name, used in imports.items() if used - MAY_IMPORT[package]}


def test_the_core_names_no_framework_but_where_a_user_has_one() -> None:
    imports = {path.name: imported_names(path.read_text()) & set(FRAMEWORKS) for path in sources("sat_core")}
    assert {name: used for name, used in imports.items() if used} == {"checks.py": {"torch"}}  # as_torch_module's check


def test_the_scan_finds_imports_inside_functions() -> None:
    assert imported_names("def f():\n    from torch.nn import Module\n    import jax.numpy as j\n") == {"torch", "jax"}


def loaded_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.split("\n")[-2].split()}


@pytest.mark.parametrize("statement", ["import sat_core", "import sat_evaluation.cli", "import sat_datasets"])
def test_importing_loads_nothing_heavy(statement: str) -> None:
    assert not loaded_after(statement) & {*HEAVY, "numpy"}


def test_a_worker_loads_no_package_before_it_knows_what_it_needs() -> None:
    """Each arm of a study is a process: what it imports is paid for every time."""
    loaded = loaded_after("import sat_evaluation.run.worker")
    assert "numpy" in loaded
    assert not loaded & {*HEAVY, "pandas", "tensorboard", "submitit"}


def test_specs_and_studies_load_no_framework() -> None:
    loaded = loaded_after("import sat_core; sat_core.Study, sat_core.train, sat_core.Ranking, sat_core.make_split")
    assert "numpy" in loaded
    assert not loaded & set(HEAVY)


def modules_of_command(*arguments: str) -> set[str]:
    """All modules that are loaded when `sat` has ended, submodules with their full names."""
    code = "import sys; from sat_evaluation.cli import main\n"
    code += "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_the_command_starts_without_a_framework_and_decodes_nothing(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for arguments in (["--help"], ["reproduce", "fig2", "--dry-run", "--out", str(tmp_path / "out")]):
        loaded = modules_of_command(*arguments)
        assert {name.split(".")[0] for name in loaded} & {*FRAMEWORKS, "PIL", "scipy", "sklearn"} == set(), arguments
    assert "sat_core.study" in loaded
    assert not list((tmp_path / "out").iterdir())


def longer_than(limit: int, paths: Iterable[Path]) -> dict[str, int]:
    """Paths and lengths of the files that have more lines than `limit`."""
    lengths = {str(path): len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    assert lengths
    return {name: length for name, length in lengths.items() if length > limit}


@pytest.mark.parametrize("package", OURS)
def test_no_module_has_more_than_300_lines(package: str) -> None:
    assert not longer_than(300, sources(package))


def test_no_file_of_tests_has_more_than_400_lines() -> None:
    assert not longer_than(400, Path(__file__).parents[1].rglob("*.py"))
    assert longer_than(2, [Path(__file__)])


def test_the_check_of_imports_can_fail() -> None:
    assert "json" in loaded_after("import json")


def test_public_names_are_what_is_shown_and_documented() -> None:
    import sat_core

    assert dir(sat_core) == sorted(sat_core.__all__)
    for name in sat_core.__all__:
        value = getattr(sat_core, name)
        assert callable(value), name
        assert value.__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        sat_core.nothing  # noqa: B018


def test_the_front_door_is_seen_by_editors() -> None:
    """Names under TYPE_CHECKING, which editors read, are those that are imported on first use."""
    import sat_core

    tree = ast.parse(Path(str(sat_core.__file__)).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    homes = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert sorted(homes) == dir(sat_core)
    assert all(getattr(sat_core, name).__module__ == module for name, module in homes.items())


def test_the_wheel_has_our_packages_and_no_others() -> None:
    names = {str(path).split("/")[0] for path in installed_files("sat-core") or []}
    own = {name for name in names if not name.startswith(("..", "__editable__", "sat_core-")) and name != "__pycache__"}
    if any(name.startswith("__editable__") for name in names):
        assert own <= {*OURS}
    else:
        assert own == {*OURS}
        assert all(find_spec(package) for package in own)
