"""What five steps do on the device: how long it idles, how often the host starts something, which kernels cost most."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from gpu_log import Log, Measurement, Row
from gpu_setup import Bench, random_examples
from gpu_training import PGD7, settings, training

SECTION = "profile"
STEPS = 5
ON_DEVICE = ("kernel", "gpu_memcpy", "gpu_memset")
"""Categories of a trace that keep the device busy; the host's calls are "cuda_runtime" and "cuda_driver"."""


def measurements(bench: Bench, log: Log) -> Iterator[Measurement]:
    """Yield a measurement for the two ends and a small share in A."""
    for share in (1.0, 0.1, 0.0):
        yield Measurement(f"{bench.size.small}, bf16, {share:.0%} in A", partial(_profile, bench, log, share))


def _profile(bench: Bench, log: Log, share: float) -> Row:
    """Profile the last five steps of an epoch. Earlier epochs capture graphs, earlier steps fill the queue."""
    bench.free_memory()
    data = random_examples(bench.size.batch * 4 * STEPS, bench.size.side)
    spec = settings(bench, precision="bf16", augmentation="cifar", epochs=3)
    activities = [torch.profiler.ProfilerActivity.CPU]
    if bench.on_gpu:
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    schedule = torch.profiler.schedule(wait=3 * STEPS - 1, warmup=1, active=STEPS, repeat=1)
    path = log.folder / f"profile-{share:.0%}.json.gz".replace("%", "")
    with training(bench.backend, bench.build(bench.size.small, data), data, spec, share, PGD7) as run:
        run.epoch(0), run.epoch(1)
        bench.wait()

        def keep(profiler: Any) -> None:
            profiler.export_chrome_trace(str(path))

        with torch.profiler.profile(activities=activities, schedule=schedule, on_trace_ready=keep) as profiler:
            run.epoch(2, profiler.step)
    return summary(path)


def summary(path: Path) -> Row:
    """Read a trace that torch.profiler has written.

    Returns:
        Without a device only how many steps it has. Else the share of the time, from the first kernel to the end of the
        last, in which nothing runs on the device, and numbers per step.
    """
    with gzip.open(path, "rt") as file:
        events = [event for event in json.load(file)["traceEvents"] if event.get("ph") == "X"]
    busy = sorted((float(e["ts"]), float(e["ts"]) + float(e["dur"])) for e in events if e.get("cat") in ON_DEVICE)
    row: Row = {"steps": STEPS}
    if not busy:
        return row
    covered, end = 0.0, busy[0][0]
    for begin, finish in busy:  # several streams: what overlaps counts once
        covered += max(0.0, finish - max(begin, end))
        end = max(end, finish)
    calls = [e["name"] for e in events if e.get("cat") in ("cuda_runtime", "cuda_driver")]
    costs: defaultdict[str, float] = defaultdict(float)
    for event in events:
        if event.get("cat") == "kernel":
            costs[event["name"]] += float(event["dur"])
    slowest = sorted(costs, key=lambda name: -costs[name])[:5]
    return row | {
        "idle": 1 - covered / (end - busy[0][0]),
        "ms on the device per step": covered / 1e3 / STEPS,
        "kernels per step": len(busy) / STEPS,
        "launches per step": sum("Launch" in name or "Memcpy" in name or "Memset" in name for name in calls) / STEPS,
        "waits per step": sum("Synchronize" in name for name in calls) / STEPS,
        "slowest kernels": "; ".join(f"{name[:60]} {costs[name] / sum(costs.values()):.0%}" for name in slowest),
    }
