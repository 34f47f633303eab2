"""G12: our training and evaluation hold about as much memory as a bare loop around the same network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from measure import cost, record

PROGRAM = str(Path(__file__).with_name("memory.py"))


def peak(work: str, who: str, *size: str) -> float:
    """Return the peak memory, in GiB, of a process that does nothing else."""
    return cost([sys.executable, PROGRAM, work, who, *size])[1]


def test_a_peak_is_that_of_the_program_alone() -> None:
    """The peak does not count what the measuring process holds."""
    large = np.ones(2**26)
    assert 0 < cost([sys.executable, "-c", "pass"])[1] < large.nbytes / 2**31


@pytest.mark.parametrize("work", ["training", "evaluation"])
def test_memory(benchmark: Any, work: str) -> None:
    """Processes in turn; for information also without the memory of a process that only has network and images."""
    size = ("small-cnn", "8") if benchmark.disabled else ("resnet18", "64")
    idle = peak(work, "idle", *size)
    bare: list[float] = []
    ours: list[float] = []
    benchmark.pedantic(
        lambda: ours.append(peak(work, "ours", *size)),
        setup=lambda: bare.append(peak(work, "bare", *size)),
        rounds=1 if benchmark.disabled else 2,
        iterations=1,
    )
    assert min(bare) >= 0.9 * idle > 0
    if not benchmark.disabled:
        record(benchmark, f"{work}-memory", np.array(ours) / bare)
        record(benchmark, f"{work}-memory-beyond", (np.array(ours) - idle) / (np.array(bare) - idle))
