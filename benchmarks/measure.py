"""Interleaved measurements: subject and reference take turns in one process, so that both see the same machine."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from goals import GOALS

Clock = Callable[[], float]


def timed(call: Callable[[], Any], clock: Clock) -> float:
    """Return the seconds that one call takes."""
    start = clock()
    call()
    return clock() - start


def compare(
    benchmark: Any, subject: Callable[[], Any], reference: Callable[[], Any], rounds: int, clock: Clock
) -> np.ndarray:
    """Time two calls in turn, the reference first; a first round is not counted.

    Args:
        benchmark: pytest-benchmark's fixture.
        subject: What is measured.
        reference: What it is compared with.
        rounds: Number of rounds.
        clock: The timer of `benchmark`.

    Returns:
        Seconds of the subject / seconds of the reference, one for each round. With --benchmark-disable both run once
        and the array is empty.
    """
    references: list[float] = []
    benchmark.pedantic(
        subject, setup=lambda: references.append(timed(reference, clock)), rounds=rounds, warmup_rounds=1, iterations=1
    )
    return np.array([]) if benchmark.disabled else np.array(benchmark.stats.stats.data) / references[1:]


def record(
    benchmark: Any, key: str, ratios: Sequence[float] | np.ndarray, note: str = "", seconds: float | None = None
) -> None:
    """Add a row to the record of a benchmark.

    Args:
        benchmark: pytest-benchmark's fixture.
        key: The goal, in `goals.GOALS`.
        ratios: The measured ratios; their median and middle half are recorded.
        note: What only the measurement can tell, such as which peer was fastest.
        seconds: Seconds of one call, if they are not those of the subject of `benchmark`.
    """
    if benchmark.disabled:
        return
    low, median, high = np.quantile(ratios, (0.25, 0.5, 0.75)).tolist()
    row = {**asdict(GOALS[key]), "ratio": median, "low": low, "high": high, "repeats": len(ratios), "note": note}
    row["seconds"] = benchmark.stats.stats.median if seconds is None else seconds
    benchmark.extra_info.setdefault("rows", []).append(row)


_WAIT = """
import os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, code, used = os.wait4(process.pid, 0)
print(code, time.perf_counter() - start, used.ru_maxrss / 2**20)
"""


def cost(command: Sequence[str]) -> tuple[float, float]:
    """Run a program; return the seconds it takes by the clock and its peak memory in GiB.

    A small process starts it, because Linux counts the memory of the parent at the time of the fork as memory of the
    child, and pytest's process may hold more than the program that is measured.
    """
    done = subprocess.run([sys.executable, "-c", _WAIT, *command], check=True, stdout=subprocess.PIPE, text=True)
    code, seconds, peak = map(float, done.stdout.split())
    assert code == 0, command
    return seconds, peak


def keep_memory() -> None:
    """Make this process keep the memory that it frees.

    By default glibc returns large arrays to the system. Fetching them again can take an eighth of a training step and a
    quarter of scipy's softmax and entropy.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(libc, "mallopt"):
        libc.mallopt(-4, 0)  # M_MMAP_MAX
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
