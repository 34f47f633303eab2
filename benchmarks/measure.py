"""Interleaved measurements: what is compared runs in turn, in one process, so that both see the same machine."""

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
    """Seconds that one call takes."""
    start = clock()
    call()
    return clock() - start


def compare(
    benchmark: Any, subject: Callable[[], Any], reference: Callable[[], Any], rounds: int, clock: Clock
) -> np.ndarray:
    """subject / reference for each round, in which the reference runs first; one round before them is not counted.

    `clock` is the timer of `benchmark`. With --benchmark-disable both run once and the ratios are empty.
    """
    before: list[float] = []
    benchmark.pedantic(
        subject, setup=lambda: before.append(timed(reference, clock)), rounds=rounds, warmup_rounds=1, iterations=1
    )
    return np.array([]) if benchmark.disabled else np.array(benchmark.stats.stats.data) / before[1:]


def record(
    benchmark: Any, key: str, ratios: Sequence[float] | np.ndarray, note: str = "", seconds: float | None = None
) -> None:
    """Add a row to the record: the goal called `key`, the measured ratios, their median and middle half.

    note: what the goal's name cannot say beforehand. seconds: of one call, if not those of the subject of `benchmark`.
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
    """Seconds of the clock that a program takes, and GiB that it holds at most.

    A small process starts it: to Linux, what the one that starts a program held by then was held by the program, too.
    """
    done = subprocess.run([sys.executable, "-c", _WAIT, *command], check=True, stdout=subprocess.PIPE, text=True)
    code, seconds, peak = map(float, done.stdout.split())
    assert code == 0, command
    return seconds, peak


def keep_memory() -> None:
    """From now on this process keeps the memory it frees. By default glibc hands large arrays back to the system, and
    fetching them anew can take an eighth of a training step and a quarter of scipy's softmax and entropy.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(libc, "mallopt"):
        libc.mallopt(-4, 0)  # M_MMAP_MAX
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
