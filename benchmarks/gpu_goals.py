"""The goals of `gpu.py`: what each measures, computed from the rows of all sections."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from goals import GOALS, Goal
from gpu_attack import SECTION as AUTOATTACK
from gpu_attack import name as attack_name
from gpu_correctness import SECTION as CORRECTNESS
from gpu_log import Log, cell, table
from gpu_profile import SECTION as PROFILE
from gpu_recipe import NAMES
from gpu_recipe import SECTION as RECIPE
from gpu_setup import ON_CPU, Bench, Size
from gpu_speed import SECTION as SPEED
from gpu_speed import name as speed_name
from gpu_speed import peers_name

CPU = Path("/proc/cpuinfo")
"""What Linux says of the processor."""


def goals_page(log: Log, bench: Bench) -> str:
    """Return the verdict on correctness, and a table of the goals."""
    wrong = [name for name, row in log.rows.get(CORRECTNESS, {}).items() if row.get("right") == "NO"]
    verdict = f"**Wrong: {'; '.join(wrong)}.**" if wrong else "Nothing that was checked is wrong."
    values = dict(measured(log, bench.size))
    lines = [
        (goal.measure, f"{goal.sense} {goal.limit:,g} {goal.unit}", *_result(key, goal, values.get(key), bench))
        for key, goal in GOALS.items()
        if key.startswith(("gpu-", "cpu-"))
    ]
    return f"{verdict}\n\n" + table(("measure", "goal", "measured", "result"), *lines)


def _result(key: str, goal: Goal, value: float | None, bench: Bench) -> tuple[str, str]:
    if key.startswith("gpu-") and not bench.on_gpu:
        return "no GPU was at hand", "–"
    if key.startswith("cpu-") and bench.size != ON_CPU:
        return "take `--device cpu`", "–"
    if value is None or goal.limit is None:
        return "not reached", "–"
    if key == "cpu-bf16" and not (CPU.exists() and "amx_bf16" in CPU.read_text()):
        return f"{cell(float(value))} {goal.unit}", "no AMX here"
    met = value <= goal.limit if goal.sense == "at most" else value >= goal.limit
    return f"{cell(float(value))} {goal.unit}", "met" if met else "missed"


def measured(log: Log, size: Size) -> Iterator[tuple[str, float]]:
    """Yield the keys and values of the goals whose measurements are there."""
    milliseconds = {}
    for share in (0.0, 0.1, 0.3, 0.5, 1.0):
        row = log.row(SPEED, speed_name(size.small, "bf16", share))
        if row:
            milliseconds[share] = row["ms per step"]
    if row := log.row(SPEED, speed_name(size.small, "bf16", 1.0)):
        yield "gpu-rate", row["images/s"]
    yield from _peers(log)
    if {0.0, 1.0} <= {*milliseconds}:
        clean, full = milliseconds[0.0], milliseconds[1.0]
        for share in (0.1, 0.3, 0.5):
            if share in milliseconds:
                yield f"gpu-share-{share:.0%}", milliseconds[share] / (clean + share * (full - clean))
    for share, name in NAMES.items():
        if row := log.row(RECIPE, name):
            yield f"gpu-recipe-{share:.0%}", row["minutes"]
            if share == 1:
                yield "gpu-utilisation", 100 * row["of bf16 matrix rate"]
    idle = [row["idle"] for row in log.rows.get(PROFILE, {}).values() if "idle" in row]
    if idle:
        yield "gpu-idle", 100 * max(idle)
    yield from _attacks(log, size)


def _peers(log: Log) -> Iterator[tuple[str, float]]:
    """Ours against the fastest peer: on a GPU each in its best precision, on a CPU in float32; and bf16 there."""
    rows = {precision: log.row(SPEED, peers_name(precision)) for precision in ("bf16", "tf32", "float32")}
    rates = {
        precision: {head: rate for head, rate in row.items() if "images/s" in head and isinstance(rate, float)}
        for precision, row in rows.items()
        if row
    }
    ours = {precision: row.pop("ours, images/s") for precision, row in rates.items()}
    if ours:
        yield "gpu-peers", max(ours.values()) / max(rate for row in rates.values() for rate in row.values())
    if "float32" in ours:
        yield "cpu-peers", ours["float32"] / max(rates["float32"].values())
    if {"float32", "bf16"} <= {*ours}:
        yield "cpu-bf16", ours["bf16"] / ours["float32"]


def _attacks(log: Log, size: Size) -> Iterator[tuple[str, float]]:
    for n in sorted(size.attacked, reverse=True):
        fast, package = (log.row(AUTOATTACK, attack_name(engine, n)) for engine in ("fast", "package"))
        if fast and package:
            flags, expected = (np.array([*row["_robust"]]) == "1" for row in (fast, package))
            yield "gpu-autoattack", package["seconds"] / fast["seconds"]
            yield "gpu-flags", 1000 * float((flags != expected).mean())
            yield "gpu-more-robust", float(fast["robust"] - package["robust"])
            return
