"""G3 and G4: start-up time of the library and the command against that of numpy, as whole processes, by the clock."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

import pytest
from measure import compare, record

CLOCK = time.perf_counter
SAT = str(Path(sysconfig.get_path("scripts"), "sat"))


@pytest.mark.benchmark(timer=CLOCK)
@pytest.mark.parametrize(
    ("key", "command"),
    [
        ("import", [sys.executable, "-c", "import sat_core"]),
        ("help", [SAT, "--help"]),
        ("dry-run", [SAT, "reproduce", "fig2", "--dry-run", "--out", "results"]),
    ],
)
def test_start(benchmark: Any, tmp_path: Path, key: str, command: list[str]) -> None:
    """In an empty folder, so that the installed library is measured; the uncounted first round writes bytecode."""

    def start(command: list[str]) -> None:
        subprocess.run(command, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)

    numpy = [sys.executable, "-c", "import numpy"]
    record(benchmark, key, compare(benchmark, lambda: start(command), lambda: start(numpy), rounds=25, clock=CLOCK))
