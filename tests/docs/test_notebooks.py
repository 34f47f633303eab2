"""The notebooks run from top to bottom, and come with the outputs of a run."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from sat_core.backend import Backend

NOTEBOOKS = Path(__file__).parents[2] / "docs/notebooks"
NAMES = {"torch": "pytorch", "tensorflow": "tensorflow"}
PATHS = re.compile(r"(?<![\w.:/])/(?:home|root|tmp|usr|opt|var|work|Users|mnt)/|[A-Z]:\\\\")


def code_cells(name: str) -> list[dict[str, Any]]:
    notebook = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("name", NAMES.values())
def test_notebooks_have_the_outputs_of_one_run_and_no_path_of_a_machine(name: str) -> None:
    cells = code_cells(name)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2
    assert [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"] == []
    assert PATHS.findall((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8")) == []


def test_paths_are_found() -> None:
    assert PATHS.findall('"/home/me/x" at /tmp/a') == ["/home/", "/tmp/"]
    assert PATHS.findall("https://x.org/home/ 8/255 a/work/") == []


@pytest.mark.backend
def test_notebooks_run(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(NOTEBOOKS)
    monkeypatch.setenv("PYTHONPATH", ":".join(filter(None, sys.path)))  # of the kernel, as of this process
    from execute import execute

    executed = execute(NAMES[backend.name], epochs=2, test_images=20)
    counts = [cell.execution_count for cell in executed.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
