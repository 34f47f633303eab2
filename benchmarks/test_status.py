"""G9: `sat status` of a thousand arms. Whole processes: seconds of the clock, and the most memory that one held."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from measure import record


@pytest.mark.benchmark(timer=time.perf_counter)
def test_status(benchmark: Any, thousand: Path) -> None:
    """Told of every arm, which are all finished: the most that there is to read."""
    seconds: list[float] = []
    benchmark.pedantic(lambda: seconds.append(_cost(thousand)[0]), rounds=5, warmup_rounds=1)
    record(benchmark, "status-seconds", seconds[1:])


@pytest.mark.benchmark(timer=time.perf_counter)
def test_memory_of_status(benchmark: Any, thousand: Path) -> None:
    """The same, for its memory."""
    peaks: list[float] = []
    benchmark.pedantic(lambda: peaks.append(_cost(thousand)[1]), rounds=3)
    record(benchmark, "status-memory", peaks)


def _cost(folder: Path) -> tuple[float, float]:
    """Seconds, and GiB at the peak."""
    command = [sys.executable, "-m", "sat_evaluation.cli", "status", str(folder), "--all"]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, code, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(code)
    assert process.returncode == 0
    return time.perf_counter() - start, used.ru_maxrss / 2**20
