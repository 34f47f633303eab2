"""G9: `sat status` and `sat report` of a thousand arms, as whole processes: seconds by the clock, and peak memory."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest
from measure import cost, record

COMMANDS = {"status": ["--all"], "report": []}


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.benchmark(timer=time.perf_counter)
def test_seconds(benchmark: Any, thousand: Path, name: str) -> None:
    """All arms are finished and listed, which is the most that there is to read."""
    seconds: list[float] = []
    benchmark.pedantic(lambda: seconds.append(_cost(name, thousand)[0]), rounds=5, warmup_rounds=1)
    record(benchmark, f"{name}-seconds", seconds[1:])


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.benchmark(timer=time.perf_counter)
def test_memory(benchmark: Any, thousand: Path, name: str) -> None:
    """Peak memory of the same commands."""
    peaks: list[float] = []
    benchmark.pedantic(lambda: peaks.append(_cost(name, thousand)[1]), rounds=3)
    record(benchmark, f"{name}-memory", peaks)


def _cost(name: str, folder: Path) -> tuple[float, float]:
    """Seconds, and GiB at the peak."""
    return cost([sys.executable, "-m", "sat_evaluation.cli", name, str(folder), *COMMANDS[name]])
