"""G21: the whole of `make demo` after the install, as a process: seconds by the clock."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest
from measure import cost, record

EXAMPLE = Path(__file__).parents[1] / "examples" / "digits.toml"
SMOKE = {
    "subset.size": "[0.0]",
    "training.epochs": "1",
    "evaluation.level": "screening",
    "evaluation.engine": "fast",
    "evaluation.selection_share": "8",
    "evaluation.examples": "8",
    "attack.eps": "3.0",  # breaks every image at once
}


@pytest.mark.benchmark(timer=time.perf_counter)
def test_seconds(benchmark: Any, tmp_path: Path) -> None:
    """The command of the Makefile, with as many processes as the machine has cores."""
    folder = tmp_path / "digits"
    command = [sys.executable, "-m", "sat_evaluation.cli", "run", str(EXAMPLE), "--out", str(folder)]
    if benchmark.disabled:
        command += [word for key, value in SMOKE.items() for word in ("--set", f"{key}={value}")]
    seconds: list[float] = []
    benchmark.pedantic(lambda: seconds.append(cost(command)[0]), rounds=1)
    assert (folder / "summary.csv").exists()
    record(benchmark, "demo-seconds", seconds)
