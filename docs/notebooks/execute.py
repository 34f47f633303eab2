"""Execute the notebooks and keep their outputs: python docs/notebooks/execute.py [pytorch] [tensorflow]

Needs nbclient and ipykernel, and sat-core with the extras `torch` or `tensorflow`, `autoattack`, `data` and `report`.
"""

from __future__ import annotations

import ast
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent
NAMES = ("pytorch", "tensorflow")


def path_of(name: str) -> Path:
    """Return the path of a notebook."""
    return FOLDER / f"{name}.ipynb"


def set_parameters(source: str, values: dict[str, int]) -> str:
    """Give the names that a cell assigns other values; each of `values` must be among them."""
    names = {target.id for node in ast.parse(source).body for target in getattr(node, "targets", ())}
    if not values.keys() <= names:
        raise ValueError(f"expected parameters among {sorted(names)}, got {sorted(values)}")
    return source + "".join(f"\n{name} = {value}" for name, value in values.items())


def execute(name: str, **parameters: int) -> Any:
    """Run a notebook in a kernel of its own and an empty folder.

    Args:
        name: `pytorch` or `tensorflow`.
        parameters: Values in place of those in the cell tagged `parameters`.

    Returns:
        The notebook with its outputs, and without what differs from machine to machine.
    """
    notebook = nbformat.read(path_of(name), as_version=4)
    sources = [cell.source for cell in notebook.cells]
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", ()):
            cell.source = set_parameters(cell.source, parameters)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(
            notebook,
            kernel_name="python3",
            timeout=600,
            record_timing=False,
            resources={"metadata": {"path": folder}},
        ).execute()
    for cell, source in zip(notebook.cells, sources, strict=True):
        cell.source = source
        cell.metadata = {key: value for key, value in cell.metadata.items() if key == "tags"}
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = nbformat.from_dict({"kernelspec": kernel, "language_info": {"name": "python"}})
    return notebook


if __name__ == "__main__":
    for name in sys.argv[1:] or NAMES:
        nbformat.write(execute(name), path_of(name))
