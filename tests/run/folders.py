"""The folder of a study that is not run, and scripts in place of other programs."""

from __future__ import annotations

import json
import stat
from pathlib import Path

from toys import result

from sat_core.run_folder import RunFolder
from sat_evaluation.run.status import statuses

ARMS = ("size-0.0", "size-0.5", "size-1.0")
SPEC = """
[data]
name = "digits"
[training]
epochs = 2
[grid]
"subset.size" = [0.0, 0.5, 1.0]
[run]
backend = "torch"
device = "cpu"
"""


def results(arm: str) -> str:
    """The text of a results.json of the arm called `arm`."""
    content = result(500, 0.815, 0.98, n=200)
    return json.dumps({**content, "arm": arm})


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def program(path: Path, text: str) -> Path:
    """Write a script that stands in for a command."""
    put(path, f"#!/bin/sh\n{text}\n").chmod(stat.S_IRWXU)
    return path


def states(out: Path) -> dict[str, str]:
    return {unit.name: unit.state for unit in statuses(RunFolder(out))}
